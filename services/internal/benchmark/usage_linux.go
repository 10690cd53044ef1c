package benchmark

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// clockTick is the unit of times in /proc: USER_HZ, which is 100 on every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// usageOf reads what a process has used so far.
func usageOf(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, fmt.Errorf("%w: %w", errNoUsage, err)
	}
	// The name may hold anything; what follows its last parenthesis begins with field 3.
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 22 {
		return usage{}, fmt.Errorf("%w: /proc/%d/stat has %d fields", errNoUsage, pid, len(f))
	}
	user, err1 := strconv.ParseUint(string(f[11]), 10, 64)
	system, err2 := strconv.ParseUint(string(f[12]), 10, 64)
	pages, err3 := strconv.ParseUint(string(f[21]), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return usage{}, fmt.Errorf("%w: /proc/%d/stat is %q", errNoUsage, pid, stat)
	}
	return usage{time.Duration(user+system) * clockTick, pages * uint64(os.Getpagesize())}, nil
}

// goWithParent ends a child with this process, also when this process is killed.
func goWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
