package main

import (
	"context"
	"errors"
	"net/netip"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/api"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
)

// pinger sends test events, each over a connection of its own.
func pinger(pool *pgxpool.Pool, allow []netip.Prefix) api.Pinger {
	return func(ctx context.Context, id uuid.UUID) (endpoint.Ping, error) {
		e, err := callback.FindEndpoint(ctx, pool, id)
		if errors.Is(err, pgx.ErrNoRows) {
			return endpoint.Ping{}, endpoint.ErrNotFound
		}
		if err != nil {
			return endpoint.Ping{}, err
		}
		sender := callback.NewSender(callback.SenderConfig{AllowNetworks: allow, MaxInFlight: 1})
		defer sender.Close()
		result := callback.Ping(ctx, sender, e)
		return endpoint.Ping{Status: result.Status, Problem: result.Problem(), Took: result.Took, Response: result.Body}, nil
	}
}
