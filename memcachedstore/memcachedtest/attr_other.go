//go:build !linux

package memcachedtest

import "syscall"

func attributes() (*syscall.SysProcAttr, error) { return nil, nil }
