package benchmark

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"
)

// usage is what a process has used so far.
type usage struct {
	cpu      time.Duration
	resident uint64 // bytes, now
}

var errNoUsage = errors.New("what a process uses cannot be read")

// usageOfPS reads it from ps, where there is no /proc.
func usageOfPS(pid int) (usage, error) {
	out, err := exec.Command("ps", "-o", "time=,rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return usage{}, fmt.Errorf("%w: %w", errNoUsage, err)
	}
	f := bytes.Fields(out)
	if len(f) != 2 {
		return usage{}, fmt.Errorf("%w: ps says %q", errNoUsage, out)
	}
	cpu, err := psTime(string(f[0]))
	if err != nil {
		return usage{}, err
	}
	kib, err := strconv.ParseUint(string(f[1]), 10, 64)
	return usage{cpu, kib << 10}, err
}

// psTime reads [[DD-]HH:]MM:SS[.CC].
func psTime(s string) (time.Duration, error) {
	var days int
	if d, rest, ok := bytes.Cut([]byte(s), []byte("-")); ok {
		var err error
		if days, err = strconv.Atoi(string(d)); err != nil {
			return 0, fmt.Errorf("%w: the time %q", errNoUsage, s)
		}
		s = string(rest)
	}
	total := float64(0)
	for _, part := range bytes.Split([]byte(s), []byte(":")) {
		v, err := strconv.ParseFloat(string(part), 64)
		if err != nil {
			return 0, fmt.Errorf("%w: the time %q", errNoUsage, s)
		}
		total = total*60 + v
	}
	return time.Duration(days)*24*time.Hour + time.Duration(total*float64(time.Second)), nil
}
