package caddymodule

import (
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// block reads the options of one block and refuses what it does not know and
// what comes twice: a typo would switch off whatever the operator meant.
type block struct {
	of     string // what the block configures, for error messages
	seen   map[string]bool
	repeat []string // options that may come several times
}

func (b *block) options(d *caddyfile.Dispenser, allowed map[string]func() error) error {
	if b.seen == nil {
		b.seen = make(map[string]bool)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		parse, ok := allowed[option]
		if !ok {
			return d.Errf("unknown option %q of %s, expected one of: %s", option, b.of, quoteNames(allowed))
		}
		if b.seen[option] && !slices.Contains(b.repeat, option) {
			return d.Errf("option %s of %s is given twice", option, b.of)
		}
		b.seen[option] = true
		if err := parse(); err != nil {
			return err
		}
	}
	return nil
}

// one reads exactly one argument.
func one(d *caddyfile.Dispenser, to *string) error {
	if !d.AllArgs(to) {
		return d.ArgErr()
	}
	if *to == "" {
		return d.Errf("the argument is empty")
	}
	return nil
}

// some reads one argument or more.
func some(d *caddyfile.Dispenser, to *[]string) error {
	option := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	if slices.Contains(args, "") {
		return d.Errf("%s: an argument is empty", option)
	}
	*to = append(*to, args...)
	return nil
}

// toggle reads an option that stands alone.
func toggle(d *caddyfile.Dispenser, to *bool) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	*to = true
	return nil
}

func number(d *caddyfile.Dispenser, to *int, atLeast int) error {
	option := d.Val()
	var text string
	if err := one(d, &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < atLeast {
		return d.Errf("%s is %q, expected a whole number of at least %d", option, text, atLeast)
	}
	*to = n
	return nil
}

func duration(d *caddyfile.Dispenser, to *caddy.Duration, atLeast time.Duration) error {
	option := d.Val()
	var text string
	if err := one(d, &text); err != nil {
		return err
	}
	value, err := caddy.ParseDuration(text)
	if err != nil || value < atLeast {
		return d.Errf("%s is %q, expected a duration of at least %s, such as 2500ms, 15s or 72h", option, text, atLeast)
	}
	*to = caddy.Duration(value)
	return nil
}

// size reads a number of bytes.
func size(d *caddyfile.Dispenser, to *int64, most uint64) error {
	option := d.Val()
	var text string
	if err := one(d, &text); err != nil {
		return err
	}
	bytes, err := humanize.ParseBytes(text)
	if err != nil || bytes == 0 || bytes > most {
		return d.Errf("%s is %q, expected a size such as 1MiB, at most %s", option, text, humanize.IBytes(most))
	}
	*to = int64(bytes)
	return nil
}
