package agent

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

// firstInherited is the number of the first file that systemd passes on.
const firstInherited = 3

// Inherited returns the sockets that systemd has opened for this process: env looks
// up its environment. See sd_listen_fds(3).
func Inherited(env func(string) string) (listeners []net.Listener, err error) {
	if env("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(env("LISTEN_FDS"))
	if err != nil || n < 1 {
		return nil, nil
	}
	for i := range n {
		f := os.NewFile(uintptr(firstInherited+i), "inherited socket")
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			for _, open := range listeners {
				open.Close()
			}
			return nil, fmt.Errorf("the socket %d of LISTEN_FDS: %w", i, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// Notify tells systemd a state, such as READY=1, if it wants to know: env looks up
// its environment. See sd_notify(3).
func Notify(env func(string) string, state string) error {
	path := env("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	nc, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer nc.Close()
	_, err = nc.Write([]byte(state))
	return err
}
