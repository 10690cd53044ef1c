package main

import (
	"runtime"
	"runtime/debug"

	"github.com/leadbaton/baton/services/internal/lead"
)

type versionCommand struct {
	outputFlag
}

// build says what a binary was built from.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	// Fold is the version of the fold of leads: states of another are not read.
	Fold string `json:"fold"`
}

func thisBuild() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Fold: lead.Version}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// Run shows the version.
func (c *versionCommand) Run(s *system) error {
	b := thisBuild()
	if c.Output == "json" {
		return writeValue(s.out, b)
	}
	p := s.page()
	p.Say("baton %s", b.Version)
	if b.Revision != "" {
		modified := ""
		if b.Modified {
			modified = ", modified"
		}
		p.Say("revision %s%s", b.Revision, modified)
	}
	p.Say("%s, %s, fold %s", b.Go, b.Platform, b.Fold)
	return p.Err()
}
