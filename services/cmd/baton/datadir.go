package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// errLocked says that another process has the lock.
var errLocked = errors.New("locked")

// lockData takes a data folder for this process, and creates it if need be. The lock ends with the process, whatever
// becomes of it.
func lockData(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("--data %s: %w", dir, err)
	}
	unlock, err = lockFile(filepath.Join(dir, "lock"))
	switch {
	case errors.Is(err, errLocked):
		return nil, fmt.Errorf("another baton is running on the data in %s: stop it, or choose another folder with --data", dir)
	case err != nil:
		return nil, fmt.Errorf("--data %s: %w", dir, err)
	}
	return unlock, nil
}
