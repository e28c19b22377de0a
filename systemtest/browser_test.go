package systemtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/rhaptos/sessiondb/sessioncache/sessiontest"
)

// screenshots is the folder, under this one, where a person may look at what the
// browsers saw.
const screenshots = "screenshots"

// TestBrowser has two real browsers use the webapp example.
func TestBrowser(t *testing.T) {
	t.Parallel()
	if err := os.MkdirAll(screenshots, 0o755); err != nil {
		t.Fatal(err)
	}
	app := newWebapp(t)
	app.start(t)
	laptop, phone := app.browser(t, 1100, 900), app.browser(t, 390, 844)

	laptop.do(t, chromedp.Navigate(app.url), chromedp.WaitVisible(chromedp.CSS(`.users`)))
	laptop.screenshot(t, "1-login")
	for _, b := range []*browser{laptop, phone} {
		b.do(t, chromedp.Navigate(app.url), chromedp.Click(chromedp.CSS(`.users button[value="2"]`)), chromedp.WaitVisible(chromedp.CSS(`#sessions`)))
		b.wantText(t, "h1", "Hello, Ed Woodward")
	}

	// The page's scripts see the profile, and not the session.
	visible := ask(t, laptop, chromedp.Evaluate[string](`document.cookie`))
	if strings.Contains(visible, "session") || !strings.Contains(visible, "__Host-profile=") {
		t.Errorf("document.cookie is %q; want the profile cookie alone", visible)
	}
	laptop.wantText(t, "#profile", "Ed Woodward")
	token := laptop.token(t)

	// The laptop ends the phone's session; the phone's next click shows it.
	laptop.do(t, chromedp.Reload(), chromedp.WaitVisible(chromedp.CSS(`tbody tr:nth-child(2)`)))
	laptop.screenshot(t, "2-two-sessions")
	phone.screenshot(t, "3-phone")
	laptop.do(t, chromedp.Click(chromedp.CSS(`tbody tr:not(.current) button`)), chromedp.WaitNotPresent(chromedp.CSS(`tbody tr:nth-child(2)`)))
	phone.do(t, chromedp.Click(chromedp.CSS(`form[action="/renew"] button`)), chromedp.WaitVisible(chromedp.CSS(`.users`)))
	phone.wantText(t, ".notice", "That session has ended: somebody, you perhaps, ended it from elsewhere.")
	phone.screenshot(t, "4-phone-ended")

	// A login outlives the server.
	app.stop(t)
	app.start(t)
	laptop.do(t, chromedp.Navigate(app.url), chromedp.WaitVisible(chromedp.CSS(`#sessions`)))
	laptop.wantText(t, "h1", "Hello, Ed Woodward")
	if laptop.token(t) != token {
		t.Error("the token has changed")
	}

	ask(t, laptop, chromedp.Evaluate[string](`document.body.id = "before"`)) // the next page looks the same
	laptop.do(t, chromedp.Click(chromedp.CSS(`form[action="/renew"] button`)), chromedp.WaitNotPresent(chromedp.CSS(`#before`)),
		chromedp.WaitVisible(chromedp.CSS(`#sessions`)))
	if laptop.token(t) == token {
		t.Error("the token has not been renewed")
	}
	laptop.do(t, chromedp.Click(chromedp.CSS(`form[action="/logout"] button`)), chromedp.WaitVisible(chromedp.CSS(`.users`)))
	if left := laptop.token(t); left != "" {
		t.Error("a cookie is left after the logout")
	}
	if visible := ask(t, laptop, chromedp.Evaluate[string](`document.cookie`)); visible != "" {
		t.Errorf("document.cookie is %q after the logout", visible)
	}
	laptop.do(t, chromedp.Navigate(app.url), chromedp.WaitVisible(chromedp.CSS(`.users`)))
}

// webapp is the example, as a process that is stopped and started.
type webapp struct {
	path, addr, url string
	environment     []string
	process         *exec.Cmd
}

func newWebapp(t *testing.T) *webapp {
	t.Helper()
	path := filepath.Join(t.TempDir(), "webapp")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./examples/webapp")
	build.Dir = ".."
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	addr := fmt.Sprintf("localhost:%d", freePort(t))
	app := &webapp{
		path: path, addr: addr, url: "http://" + addr + "/",
		environment: append(os.Environ(), "DATABASE_URL="+sessiontest.NewDatabase(t).URL),
	}
	t.Cleanup(func() { app.stop(t) })
	return app
}

// start returns when the service is ready.
func (a *webapp) start(t *testing.T) {
	t.Helper()
	a.process = exec.Command(a.path, "-addr", a.addr)
	a.process.Env = a.environment
	a.process.Stderr = os.Stderr
	stdout, err := a.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.process.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("the webapp did not start: %v", err)
	}
}

func (a *webapp) stop(t *testing.T) {
	t.Helper()
	if err := a.process.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := a.process.Wait(); err != nil {
		t.Errorf("the webapp: %v", err)
	}
}

// browser is a Chromium with a profile of its own.
type browser struct {
	ctx context.Context
}

func (a *webapp) browser(t *testing.T, width, height int) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.WindowSize(width, height),
		chromedp.NoSandbox, // which root has not
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, quit := chromedp.NewContext(allocator)
	t.Cleanup(quit)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(int64(width), int64(height))); err != nil {
		t.Fatalf("%v: install it (apt-get install chromium)", err)
	}
	return &browser{ctx}
}

// ask runs an action and returns what it found.
func ask[R any](t *testing.T, b *browser, action chromedp.Action[R]) R {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func (b *browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ask(t, b, chromedp.Steps(actions...))
}

func (b *browser) wantText(t *testing.T, selector, want string) {
	t.Helper()
	if got := ask(t, b, chromedp.Text(chromedp.CSS(selector))); got != want {
		t.Errorf("%s says %q; want %q", selector, got, want)
	}
}

// token is what the browser has in the session cookie, which only its developer
// tools see.
func (b *browser) token(t *testing.T) (token string) {
	t.Helper()
	result, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{})
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range result.Cookies {
		if cookie.Name == "__Host-session" {
			token = cookie.Value
			if !cookie.Secure || !cookie.HTTPOnly || cookie.SameSite != network.CookieSameSiteLax || cookie.Path != "/" || cookie.Session {
				t.Errorf("the session cookie is %+v", cookie)
			}
		}
	}
	return token
}

func (b *browser) screenshot(t *testing.T, name string) {
	t.Helper()
	png := ask(t, b, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(screenshots, name+".png"), png, 0o644); err != nil {
		t.Error(err)
	}
}
