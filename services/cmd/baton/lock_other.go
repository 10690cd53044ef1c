//go:build !unix

package main

import "os"

// lockFile opens a file that no other process may open meanwhile, by removing it first: where a file that is open cannot
// be removed, that fails while another process has it.
func lockFile(name string) (unlock func(), err error) {
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return nil, errLocked
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	return func() {
		_ = f.Close()
		_ = os.Remove(name)
	}, nil
}
