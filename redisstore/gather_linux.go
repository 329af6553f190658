package redisstore

import "syscall"

// wakeAt has the kernel tell of what has come only when it is so many bytes. Without that, each
// arrival wakes the process, also while nobody reads.
func wakeAt(conn syscall.RawConn, bytes int) (err error) {
	err1 := conn.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes)
	})
	if err1 != nil {
		return err1
	}
	return err
}
