package main

import (
	"log/slog"
)

// logFlag says how much a service logs.
type logFlag struct {
	LogLevel string `enum:",debug,info,warn,error" default:"" placeholder:"LEVEL" help:"What to log, as JSON on the standard error output: debug, info, warn or error."`
}

// logger returns a logger from a level on. Logs hold ids, never a lead's key, address or name.
func (s *system) logger(level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	return slog.New(slog.NewJSONHandler(s.errors, &slog.HandlerOptions{Level: l}))
}

// or returns the level that was asked for, else another.
func (f logFlag) or(level string) string {
	if f.LogLevel == "" {
		return level
	}
	return f.LogLevel
}
