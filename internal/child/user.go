//go:build unix

package child

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// Ordinary returns the first of the users that there is, to run a program as that refuses
// to be root's; nil if this process is not root's. An error is returned when there is
// none of them.
func Ordinary(names ...string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("this is root, and there is none of the users %q", names)
}
