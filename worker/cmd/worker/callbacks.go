package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/settings"
)

type callbackCommands struct {
	Secret callbacksSecret `cmd:"" help:"Print the secrets that sign callbacks, current first."`
}

type callbacksSecret struct {
	New bool `help:"Make a new secret for CALLBACK_SECRET and store nothing."`
}

// Run prints the secrets a receiver verifies webhook-signature with.
func (c callbacksSecret) Run(p *process) error {
	if c.New {
		_, err := fmt.Fprintln(p.stdout, callback.NewSecret())
		return err
	}
	s, err := settings.ReadCallback(p.source)
	if err != nil {
		return err
	}
	return withDatabase(p, func(ctx context.Context, pool *pgxpool.Pool) error {
		secrets, err := callback.Secrets(ctx, pool, s.Environment)
		if err != nil {
			return err
		}
		for _, secret := range secrets {
			if _, err := fmt.Fprintln(p.stdout, secret); err != nil {
				return err
			}
		}
		return nil
	})
}
