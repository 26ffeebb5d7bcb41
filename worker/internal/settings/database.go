package settings

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
)

// defaultConnections serves two writers, the claims, the results, the
// heartbeat and the checks of /health with some to spare.
const defaultConnections = 12

// Database is where Postgres is.
type Database struct {
	URL string
	// MaxConnections is DB_POOL_MAX, else 12.
	MaxConnections int32
}

// ReadDatabase reads DATABASE_URL or, if it is unset, DB_HOST, DB_PORT,
// DB_NAME, DB_USER and DB_PASSWORD with the defaults of whatsapp-flows-server.
func ReadDatabase(src setting.Source) (Database, error) {
	// The seed's own default of 10 would leave too little; more is honoured.
	most, err := number(src, "DB_POOL_MAX", defaultConnections, 1, 10000, "connections")
	if err != nil {
		return Database{}, err
	}
	d := Database{MaxConnections: int32(max(most, defaultConnections))} //nolint:gosec // bounded above
	var from string
	if d.URL, from, err = src.Lookup("DATABASE_URL"); err != nil {
		return d, err
	}
	if d.URL == "" {
		from = "DB_HOST, DB_PORT, DB_NAME, DB_USER or DB_PASSWORD"
		if d.URL, err = databaseParts(src); err != nil {
			return d, err
		}
	}
	if _, err := pgxpool.ParseConfig(d.URL); err != nil {
		return d, fmt.Errorf("%s does not say where Postgres is, expected postgres://user:password@host:5432/database", from)
	}
	return d, nil
}

func databaseParts(src setting.Source) (string, error) {
	parts := []struct{ name, value, unset string }{
		{name: "DB_HOST", unset: "localhost"},
		{name: "DB_PORT", unset: "5432"},
		{name: "DB_NAME", unset: "whatsapp_flows"},
		{name: "DB_USER", unset: "postgres"},
		{name: "DB_PASSWORD"},
	}
	some := false
	for i := range parts {
		p := &parts[i]
		value, _, err := src.Lookup(p.name)
		if err != nil {
			return "", err
		}
		if some = some || value != ""; value == "" {
			value = p.unset
		}
		p.value = value
	}
	if !some {
		return "", errors.New("neither DATABASE_URL nor DB_HOST is set: say where Postgres is, such as DATABASE_URL=postgres://user:password@host:5432/database")
	}
	u := url.URL{Scheme: "postgres", Host: net.JoinHostPort(parts[0].value, parts[1].value), Path: "/" + parts[2].value}
	u.User = url.User(parts[3].value)
	if password := parts[4].value; password != "" {
		u.User = url.UserPassword(parts[3].value, password)
	}
	return u.String(), nil
}
