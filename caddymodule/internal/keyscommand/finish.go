package keyscommand

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// end moves the old keys aside, if they may go.
func (r *rotation) end(ctx context.Context) error {
	found, directory, err := r.look(ctx)
	if err != nil {
		return err
	}
	state, err := keyring.ReadRotation(directory)
	if err != nil {
		return err
	}
	if state == nil {
		return fmt.Errorf("no rotation is under way in %s: `caddy whatsapp-flows keys rotate` begins one", directory)
	}
	reasons := mayNotGo(*state, found, r.Now(), time.Duration(r.quiet))
	if !r.noRegister {
		more, err := r.atWhatsApp(ctx, *state, found)
		if err != nil {
			return err
		}
		reasons = append(reasons, more...)
	}
	if len(reasons) > 0 {
		for _, reason := range reasons {
			r.row("not yet", reason)
		}
		return errors.New("the old key stays")
	}

	files, elsewhere := oldFiles(*state, found, directory)
	for i, file := range files {
		to, err := file.Retire()
		if err != nil {
			return errors.Join(err, restore(files[:i]))
		}
		r.row("moved", file.Path+" to "+to)
	}
	if _, err := r.reloadAll(ctx, r.edges); err != nil {
		err = errors.Join(err, restore(files))
		// An interrupt has ended what came before, not this.
		if _, again := r.reloadAll(context.WithoutCancel(ctx), r.edges); again != nil {
			err = errors.Join(err, again)
		}
		return fmt.Errorf("the old key is put back: %w", err)
	}
	for _, source := range elsewhere {
		r.row("still there", source+": it is not in the directory; take it out of the edge's configuration")
	}
	return keyring.EndRotation(directory)
}

// mayNotGo lists why the old keys of a rotation must stay.
func mayNotGo(state keyring.Rotation, found []edgeAccount, now time.Time, quiet time.Duration) (reasons []string) {
	say := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	if now.Before(state.Until) {
		say("the overlap ends at %s, in %s", stamp(state.Until), roughly(state.Until.Sub(now)))
	}
	several := len(names(found)) > 1
	opened := false
	for _, account := range found {
		edge := "the edge at " + account.address
		if several {
			edge += ", account " + account.Account.Account + ","
		}
		i := slices.IndexFunc(account.Keys, func(key keyring.Key) bool { return key.Fingerprint == state.New })
		if i < 0 {
			say("%s does not have the new key: `caddy whatsapp-flows keys reload`", edge)
			continue
		}
		opened = opened || !account.Keys[i].LastOpened.IsZero() && now.Sub(account.Keys[i].LastOpened) <= max(quiet, time.Hour)
		for _, key := range account.Keys {
			if !slices.Contains(state.Old, key.Fingerprint) {
				continue
			}
			switch {
			case !key.LastOpened.IsZero() && now.Sub(key.LastOpened) < quiet:
				say("%s opened a request with the old key %s %s ago (%d in the last 24 h, %.1f %%)", edge, key.Fingerprint[:12], roughly(now.Sub(key.LastOpened)), key.OpenedDay, 100*key.ShareDay)
			case now.Sub(key.Since) < quiet:
				say("%s runs for %s only, which is too short to tell that the old key %s is out of use: wait until it is %s", edge, roughly(now.Sub(key.Since)), key.Fingerprint[:12], quiet)
			}
		}
	}
	if !opened {
		say("nothing was opened with the new key either: whether phones have it is not known; send a flow, or look at `caddy whatsapp-flows keys status`")
	}
	return reasons
}

// atWhatsApp lists the numbers that do not have the new key, and those that were not
// asked for and still have an old one.
func (r *rotation) atWhatsApp(ctx context.Context, state keyring.Rotation, found []edgeAccount) (reasons []string, err error) {
	client, err := r.client()
	if err != nil {
		return nil, fmt.Errorf("%w; or give --no-register and look yourself", err)
	}
	numbers, err := r.findAll(ctx, client, r.meta, names(found))
	if err != nil {
		return nil, err
	}
	asked := len(numbers)
	others, err := r.others(ctx, client, names(found), numbers)
	if err != nil {
		return nil, err
	}
	for i, n := range append(numbers, others...) {
		h, err := r.readBack(ctx, client, n)
		if err != nil {
			return nil, fmt.Errorf("number %s: %w", n, err)
		}
		switch {
		case i < asked && !h.is(state.New):
			reasons = append(reasons, fmt.Sprintf("WhatsApp does not have the new key for the number %s, but %s", n, h.describe(found[0].Keys)))
		case slices.Contains(state.Old, h.fingerprint):
			reasons = append(reasons, fmt.Sprintf("WhatsApp still has the old key for the number %s: `caddy whatsapp-flows keys register --number %s`", n, n.id))
		}
	}
	return reasons, nil
}

// others are the numbers of META_WABA_ID beside those that are known. Their key may
// be another's; only that it is an old one of ours would be wrong.
func (r *rotation) others(ctx context.Context, client *graph.Client, accounts []string, known []number) (others []number, err error) {
	for _, account := range accounts {
		wabas, err := r.idsOf("META_WABA_ID", account)
		if err != nil {
			return nil, err
		}
		if len(wabas) == 0 {
			continue
		}
		all, err := r.find(ctx, client, meta{allNumbers: true}, account)
		if err != nil {
			return nil, err
		}
		for _, n := range all {
			if !slices.ContainsFunc(known, n.same) && !slices.ContainsFunc(others, n.same) {
				others = append(others, n)
			}
		}
	}
	return others, nil
}

// oldFiles are the old keys as files of the directory, and the places of those
// that come from elsewhere.
func oldFiles(state keyring.Rotation, found []edgeAccount, directory string) (files []keyring.File, elsewhere []string) {
	listed, _ := keyring.List(directory)
	seen := map[string]bool{}
	for _, account := range found {
		for _, key := range account.Keys {
			if !slices.Contains(state.Old, key.Fingerprint) || seen[key.Source] {
				continue
			}
			seen[key.Source] = true
			path := filepath.Join(directory, filepath.Base(key.Source))
			i := slices.IndexFunc(listed, func(file keyring.File) bool { return file.Path == path })
			begun, moved := keyring.Retired(path)
			switch {
			case filepath.Dir(key.Source) != account.Directory:
				elsewhere = append(elsewhere, key.Source)
			case i >= 0:
				if !slices.Contains(files, listed[i]) {
					files = append(files, listed[i])
				}
			case moved: // by a run that was cut short
				files = append(files, begun)
			default:
				elsewhere = append(elsewhere, key.Source)
			}
		}
	}
	return files, elsewhere
}

func restore(files []keyring.File) error {
	var errs []error
	for _, file := range files {
		errs = append(errs, file.Restore())
	}
	return errors.Join(errs...)
}

// roughly is a duration for people.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return d.Round(time.Minute).String()
	default:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	}
}
