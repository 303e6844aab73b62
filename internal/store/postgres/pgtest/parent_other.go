//go:build !linux

package pgtest

import "syscall"

// diesWithParent can do nothing here: Main stops the servers.
func diesWithParent(*syscall.SysProcAttr) {}
