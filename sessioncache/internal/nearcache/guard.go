package nearcache

import (
	"errors"
	"fmt"
)

// errGoexit is the error of a function that has ended its goroutine.
var errGoexit = errors.New("the goroutine was ended")

// outcome is how a guarded function has ended.
type outcome struct{ err error }

// guard calls f on a goroutine of its own and sends the outcome. A panic becomes an
// error, because on this goroutine it would end the program. So does runtime.Goexit,
// which testing's FailNow calls and which would end the poller.
func guard(f func() error) <-chan outcome {
	result := make(chan outcome, 1)
	go func() {
		err := errGoexit
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panic: %v", v)
			}
			result <- outcome{err}
		}()
		err = f()
	}()
	return result
}
