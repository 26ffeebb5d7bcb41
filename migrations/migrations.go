// Package migrations embeds the goose migrations of the worker's database.
package migrations

import "embed"

// FS holds the SQL files, in goose's format, at its root.
//
//go:embed *.sql
var FS embed.FS
