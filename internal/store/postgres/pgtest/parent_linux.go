package pgtest

import "syscall"

// diesWithParent has the kernel stop a program when this one dies, however it does.
func diesWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGQUIT }
