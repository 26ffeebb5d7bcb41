package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
)

// live are the apps that have read their secrets and are not cleaned up, the
// newest last. While Caddy changes its configuration there are two: both are
// reloaded, so that what an operator was told is loaded is not lost with the
// change. The mutex covers every change of the list and, for the same reason, the
// reading itself; who only looks needs none.
var live struct {
	sync.Mutex
	apps atomic.Pointer[[]*App]
}

func liveApps() []*App {
	if apps := live.apps.Load(); apps != nil {
		return *apps
	}
	return nil
}

// errNotServing is a Caddy that has no WhatsApp Flows in its configuration.
var errNotServing = errors.New("this Caddy serves no WhatsApp Flows: its configuration has neither the option whatsapp_flows nor one of its handlers")

// provisionAccounts reads the secrets of every account and makes the app known
// to reloads.
func (a *App) provisionAccounts() error {
	live.Lock()
	defer live.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.Accounts)) {
		if err := a.Accounts[name].provision(name, a.env); err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
	}
	apps := append(slices.Clone(liveApps()), a)
	live.apps.Store(&apps)
	return nil
}

// retire gives up the keys. Requests that still run keep them for a while.
func (a *App) retire() {
	live.Lock()
	defer live.Unlock()
	apps := slices.DeleteFunc(slices.Clone(liveApps()), func(other *App) bool { return other == a })
	live.apps.Store(&apps)
	for _, account := range a.Accounts {
		if account != nil {
			account.current.Load().release(nil)
		}
	}
}

// reloadCredentials reads the secrets and keys of all accounts anew. Only when
// every one of them is good do they take the place of the old ones, between two
// requests; on an error all stay as they were.
func reloadCredentials() (done keyring.Reloaded, err error) {
	live.Lock()
	defer live.Unlock()
	apps := liveApps()
	if len(apps) == 0 {
		return done, errNotServing
	}
	newest := apps[len(apps)-1]
	next := make(map[*Account]*credentials)
	defer func() {
		if err != nil {
			reloadsTotal.WithLabelValues("refused").Inc()
			newest.logger.Error("secrets and keys stay as they were: the new ones cannot be used", zap.Error(err))
			for account, c := range next {
				c.closeKeys(account.current.Load())
			}
		}
	}()
	for _, app := range apps {
		for _, name := range slices.Sorted(maps.Keys(app.Accounts)) {
			account := app.Accounts[name]
			c, err := account.readCredentials(app.env, account.current.Load())
			if err != nil {
				return done, fmt.Errorf("account %s: %w", name, err)
			}
			next[account] = c
			if err := account.replaces(c); err != nil {
				return done, fmt.Errorf("account %s: %w", name, err)
			}
		}
	}
	for _, app := range apps {
		for _, name := range slices.Sorted(maps.Keys(app.Accounts)) {
			account := app.Accounts[name]
			before := account.current.Swap(next[account])
			before.release(next[account])
			if app != newest {
				continue
			}
			done.Accounts = append(done.Accounts, name)
			if next[account].differs(before) {
				done.Changed = append(done.Changed, name)
			}
		}
	}
	reloadsTotal.WithLabelValues("ok").Inc()
	newest.logger.Info("secrets and keys read anew", zap.Strings("changed", done.Changed))
	newest.logKeys()
	return done, nil
}

// reportKeys tells what the accounts hold and what their keys are used for.
func reportKeys(now time.Time) (report keyring.Report, err error) {
	apps := liveApps()
	if len(apps) == 0 {
		return report, errNotServing
	}
	newest := apps[len(apps)-1]
	for _, name := range slices.Sorted(maps.Keys(newest.Accounts)) {
		report.Accounts = append(report.Accounts, newest.Accounts[name].report(now))
	}
	return report, nil
}

func (a *Account) report(now time.Time) keyring.Account {
	c := a.current.Load()
	r := keyring.Account{
		Account: a.name, LoadedAt: c.loadedAt, Directory: c.directory,
		AppSecrets: len(c.appSecrets), TokenSecrets: len(c.tokenSecrets), Keys: make([]keyring.Key, 0, len(c.keys)),
	}
	all := uint64(0)
	for _, key := range c.keys {
		of := keyring.Key{
			Fingerprint: key.fingerprint, PublicKey: string(flowcrypto.PublicPEM(key.public)), Source: key.source,
			Since: key.use.since, Opened: key.use.opened.Load(), OpenedDay: key.use.day(now), LastOpened: key.use.lastOpened(),
		}
		all += of.OpenedDay
		r.Keys = append(r.Keys, of)
	}
	for i := range r.Keys {
		if all > 0 {
			r.Keys[i].ShareDay = float64(r.Keys[i].OpenedDay) / float64(all)
		}
	}
	return r
}
