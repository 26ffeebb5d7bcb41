// Package settings reads what the operator configures of the worker: the
// environment, under the names of whatsapp-flows-server where that had one.
// Every variable may come as NAME_FILE, the path of a file with the value.
//
// Each error is one sentence that says what came, what was expected and what
// to do, and holds no secret.
package settings

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/setting"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/callback"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/endpoint"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/worker/internal/store"
)

// DefaultAccount is the account of an installation that has only one.
const DefaultAccount = setting.DefaultAccount

// Serve is what `worker serve` needs.
type Serve struct {
	Database    Database
	Redis       Redis
	Listen      string // LISTEN_ADDR, else HOST and PORT, else 127.0.0.1:8080
	Name        string // WORKER_NAME, else the host's name: the consumer name
	LogLevel    zapcore.Level
	Environment string // NODE_ENV, else ENVIRONMENT; shown by /health
	Callback    Callback
	Accounts    Accounts
	API         API
	Retention   store.Retention
}

// Callback is what the environment says about deliveries.
type Callback struct {
	endpoint.Environment
	AllowNetworks []netip.Prefix // CALLBACK_ALLOW_CIDRS
}

// Rules are what callback endpoints must keep to.
func (c Callback) Rules() endpoint.Rules {
	return endpoint.Rules{AllowNetworks: c.AllowNetworks, FixedSecrets: c.Secrets != nil}
}

// ReadServe reads the settings of `worker serve`.
func ReadServe(src setting.Source) (Serve, error) {
	var s Serve
	var err error
	if s.Database, err = ReadDatabase(src); err != nil {
		return s, err
	}
	if s.Redis, err = ReadRedis(src); err != nil {
		return s, err
	}
	if s.Listen, err = readListen(src); err != nil {
		return s, err
	}
	if s.Name, err = readName(src); err != nil {
		return s, err
	}
	if s.LogLevel, err = readLogLevel(src); err != nil {
		return s, err
	}
	if s.Environment, err = readEnvironment(src); err != nil {
		return s, err
	}
	if s.Callback, err = ReadCallback(src); err != nil {
		return s, err
	}
	if s.Accounts, err = ReadAccounts(src); err != nil {
		return s, err
	}
	if s.API, err = readAPI(src); err != nil {
		return s, err
	}
	s.Retention, err = readRetention(src)
	return s, err
}

// System reads the process environment and the disk.
func System() setting.Source {
	return setting.Source{LookupEnv: os.LookupEnv, ReadFile: os.ReadFile}
}

func readListen(src setting.Source) (string, error) {
	addr, from, err := src.Lookup("LISTEN_ADDR")
	if err != nil {
		return "", err
	}
	if addr != "" {
		if _, port, err := net.SplitHostPort(addr); err != nil || !validPort(port) {
			return "", fmt.Errorf("%s is %q, expected host:port such as 127.0.0.1:8080", from, addr)
		}
		return addr, nil
	}
	host, _, err := src.Lookup("HOST")
	if err != nil {
		return "", err
	}
	port, from, err := src.Lookup("PORT")
	if err != nil {
		return "", err
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = "8080"
	} else if !validPort(port) {
		return "", fmt.Errorf("%s is %q, expected a port number", from, port)
	}
	return net.JoinHostPort(host, port), nil
}

func validPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func readName(src setting.Source) (string, error) {
	name, _, err := src.Lookup("WORKER_NAME")
	if name != "" || err != nil {
		return name, err
	}
	if name, err = os.Hostname(); err != nil || name == "" {
		return "", errors.New("the host has no name to call this worker by: set WORKER_NAME")
	}
	return name, nil
}

// readLogLevel knows zap's levels and, rounded to them, winston's.
func readLogLevel(src setting.Source) (zapcore.Level, error) {
	value, from, err := src.Lookup("LOG_LEVEL")
	if err != nil {
		return 0, err
	}
	switch strings.ToLower(value) {
	case "", "info", "http":
		return zapcore.InfoLevel, nil
	case "debug", "verbose", "silly":
		return zapcore.DebugLevel, nil
	case "warn", "warning":
		return zapcore.WarnLevel, nil
	case "error":
		return zapcore.ErrorLevel, nil
	default:
		return 0, fmt.Errorf("%s is %q, expected debug, info, warn or error", from, value)
	}
}

func readEnvironment(src setting.Source) (string, error) {
	for _, name := range []string{"NODE_ENV", "ENVIRONMENT"} {
		if value, _, err := src.Lookup(name); value != "" || err != nil {
			return value, err
		}
	}
	return "production", nil
}

// ReadCallback reads the CALLBACK_ variables.
func ReadCallback(src setting.Source) (Callback, error) {
	var c Callback
	var err error
	if c.URL, err = readCallbackURL(src); err != nil {
		return c, err
	}
	ms, err := number(src, "CALLBACK_TIMEOUT", 15000, 1, int(callback.LongestTimeout.Milliseconds()), "milliseconds")
	if err != nil {
		return c, err
	}
	c.Timeout = time.Duration(ms) * time.Millisecond
	retries, err := number(src, "CALLBACK_MAX_RETRIES", -1, 0, 1000, "retries")
	if err != nil {
		return c, err
	}
	c.MaxAttempts = callback.MaxAttempts(retries)

	secrets, from, err := src.Lookup("CALLBACK_SECRET")
	if err != nil {
		return c, err
	}
	for _, secret := range setting.List(secrets) {
		if err := callback.CheckSecret(secret); err != nil {
			return c, fmt.Errorf("%s: %w", from, err)
		}
		c.Secrets = append(c.Secrets, secret)
	}
	cidrs, from, err := src.Lookup("CALLBACK_ALLOW_CIDRS")
	if err != nil {
		return c, err
	}
	for _, cidr := range setting.List(cidrs) {
		network, err := parseNetwork(cidr)
		if err != nil {
			return c, fmt.Errorf("%s holds %q, expected networks such as 10.0.0.0/8 separated by commas", from, cidr)
		}
		c.AllowNetworks = append(c.AllowNetworks, network)
	}
	return c, nil
}

// parseNetwork reads a network, or one address.
func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

func readCallbackURL(src setting.Source) (string, error) {
	value, from, err := src.Lookup("CALLBACK_WEBHOOK_URL")
	if value == "" || err != nil {
		return "", err
	}
	u, err := url.Parse(value)
	// The value is not repeated: a webhook URL often is a secret itself.
	switch {
	case err != nil:
		return "", fmt.Errorf("%s is not a URL, expected one such as https://example.com/hooks/flows", from)
	case u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("%s does not begin with https:// or http://, expected a URL such as https://example.com/hooks/flows", from)
	case u.Hostname() == "":
		return "", fmt.Errorf("%s names no host, expected a URL such as https://example.com/hooks/flows", from)
	}
	return value, nil
}

// number reads an integer between least and most.
func number(src setting.Source, name string, unset, least, most int, unit string) (int, error) {
	value, from, err := src.Lookup(name)
	if err != nil {
		return 0, err
	}
	if value == "" {
		return unset, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s is %q, expected a number of %s from %d to %d", from, value, unit, least, most)
	}
	return n, nil
}
