//go:build unix

package pgserver

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// DropPrivileges does nothing unless this process is root. PostgreSQL refuses to run as
// root: DropPrivileges makes a command run as the user postgres, or as nobody if there
// is no postgres, and makes that user the owner of the folder.
func DropPrivileges(attr *syscall.SysProcAttr, folder string) error {
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(folder, uid, gid)
}
