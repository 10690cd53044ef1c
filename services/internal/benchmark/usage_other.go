//go:build !linux

package benchmark

import "syscall"

// usageOf reads what a process has used so far.
func usageOf(pid int) (usage, error) { return usageOfPS(pid) }

// goWithParent is what Linux alone has.
func goWithParent() *syscall.SysProcAttr { return nil }
