package keyscommand

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
)

// rotation is one run of rotate.
type rotation struct {
	World
	edges
	meta
	directory      string
	passphraseFile string
	overlap        days
	quiet          days
	finish         bool
	again          bool
	noRegister     bool
}

// days is a duration that may be written 7d.
type days time.Duration

func (d *days) String() string { return time.Duration(*d).String() }
func (*days) Type() string     { return "duration" }

func (d *days) Set(text string) error {
	value, err := caddy.ParseDuration(text)
	if err == nil && value < 0 {
		err = errors.New("expected a duration such as 7d or 12h")
	}
	*d = days(value)
	return err
}

func (w World) rotate() *cobra.Command {
	r := rotation{World: w, overlap: days(7 * 24 * time.Hour), quiet: days(24 * time.Hour)}
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Changes the key without losing a conversation",
		Long: `Makes a new key, puts it first in the account's directory of keys (private_keys in
the Caddyfile, or PRIVATE_KEYS_DIR), has every edge read it, and registers its public
half at WhatsApp. The old key stays: phones use it until they fetch the new one.

Once the overlap has passed and the edges open nothing with the old key any more,
` + "`rotate --finish`" + ` moves it aside, into the directory retired. It refuses before, and
says why.`,
		Example: `  caddy whatsapp-flows keys rotate --overlap 7d --all-numbers
  caddy whatsapp-flows keys rotate --finish --all-numbers`,
		Args: cobra.NoArgs,
		RunE: interruptible(func(ctx context.Context, _ []string) error {
			if r.finish {
				return r.end(ctx)
			}
			return r.begin(ctx)
		}),
	}
	r.edges.flags(cmd, true)
	r.meta.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&r.directory, "dir", "", "directory of keys; without it, the one the edge tells")
	f.StringVar(&r.passphraseFile, "passphrase-file", "", "file of the passphrase that the whole directory has; without it, one is drawn and put beside the key")
	f.Var(&r.overlap, "overlap", "how long the old key stays at least")
	f.Var(&r.quiet, "quiet", "with --finish: how long the old key must have opened nothing")
	f.BoolVar(&r.finish, "finish", false, "move the old key aside, if it may go")
	f.BoolVar(&r.again, "again", false, "make another key although a rotation is under way, such as when the new key was seen by others")
	f.BoolVar(&r.noRegister, "no-register", false, "do not ask or tell WhatsApp: the public key is registered by hand")
	for _, begins := range []string{"overlap", "again", "passphrase-file"} {
		cmd.MarkFlagsMutuallyExclusive("finish", begins)
	}
	return cmd
}

// look finds the edges and the directory up. The accounts are the one that is meant,
// as every edge has it, and behind it those that share its directory: what is changed
// there is changed for all of them.
func (r *rotation) look(ctx context.Context) (found []edgeAccount, directory string, err error) {
	one, all, err := r.oneAccount(ctx, r.edges)
	if err != nil {
		return nil, "", err
	}
	directory = r.directory
	for _, account := range one {
		if account.Directory == "" {
			return nil, "", fmt.Errorf("the edge at %s has no directory of keys for the account %s, which rotate needs: write `private_keys DIRECTORY` into the account's block, or set PRIVATE_KEYS_DIR, and start the edge anew with it once; keys named one by one go on beside it", account.address, account.Account.Account)
		}
		if directory == "" {
			directory = account.Directory
		}
		if r.directory == "" && account.Directory != directory {
			return nil, "", fmt.Errorf("the edges have different directories of keys, %s and %s: say with --dir where this machine has it", directory, account.Directory)
		}
	}
	return sharing(one, all), directory, nil
}

// sharing are one, and those of all that read the same directory on the same edge.
func sharing(one, all []edgeAccount) []edgeAccount {
	shared := slices.Clone(one)
	for _, other := range all {
		if slices.ContainsFunc(one, func(of edgeAccount) bool {
			return of.address == other.address && of.Directory == other.Directory && of.Account.Account != other.Account.Account
		}) {
			shared = append(shared, other)
		}
	}
	return shared
}

func (r *rotation) begin(ctx context.Context) error {
	found, directory, err := r.look(ctx)
	if err != nil {
		return err
	}
	before, err := keyring.ReadRotation(directory)
	if err != nil {
		return err
	}
	if before != nil && !r.again {
		return fmt.Errorf("a rotation is under way since %s, and its old key may go after %s: end it with `caddy whatsapp-flows keys rotate --finish`, or make yet another key with --again", stamp(before.Begun), stamp(before.Until))
	}
	if accounts := names(found); len(accounts) > 1 {
		r.row("accounts", strings.Join(accounts, ", ")+" share this directory: the key is changed for all of them")
	}
	// What could keep the new key from being registered is found out first.
	var client *graph.Client
	var numbers []number
	if !r.noRegister {
		if client, err = r.client(); err != nil {
			return fmt.Errorf("%w; or give --no-register and register the key by hand", err)
		}
		if numbers, err = r.findAll(ctx, client, r.meta, names(found)); err != nil {
			return err
		}
	}

	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return err
	}
	file, err := r.write(key, destination{directory: directory, passphraseFile: r.passphraseFile}, nil)
	if err != nil {
		return err
	}
	begun := r.Now().UTC().Truncate(time.Second)
	state := keyring.Rotation{New: flowcrypto.Fingerprint(&key.PublicKey), Begun: begun, Until: begun.Add(time.Duration(r.overlap))}
	state.Old = oldKeys(state, found)
	if err := r.takeUp(ctx, directory, file, &state, before); err != nil {
		return err
	}
	if !r.noRegister {
		if err := r.set(ctx, client, numbers, string(flowcrypto.PublicPEM(&key.PublicKey))); err != nil {
			return fmt.Errorf("the edge has the new key, and the old one still works, but it is not registered everywhere; mend this and run `caddy whatsapp-flows keys register`, for the same numbers: %w", err)
		}
	}
	fmt.Fprintf(r.Out, "\nEvery edge has the new key first. The old one may go after %s, once nothing is opened with it any more:\n`caddy whatsapp-flows keys status` shows that, `keys rotate --finish` moves it aside.\n", stamp(state.Until))
	if r.noRegister {
		fmt.Fprintf(r.Out, "Register %s at WhatsApp now, for each phone number.\n", file.Public())
	}
	return nil
}

// takeUp notes the rotation and has the edges read the new key, or takes both back.
// The note comes first: whoever finds the key in an edge knows why it is there, even
// if this process ends now.
func (r *rotation) takeUp(ctx context.Context, directory string, file keyring.File, state, before *keyring.Rotation) (err error) {
	note := keyring.BeginRotation
	if before != nil {
		note = keyring.WriteRotation
	}
	if err := note(directory, state); err != nil {
		return errors.Join(err, file.Remove())
	}
	found, err := r.have(ctx, state.New)
	if err == nil {
		state.Old = oldKeys(*state, found) // also such as an edge had not read before
		if err = keyring.WriteRotation(directory, state); err == nil {
			return nil
		}
	}
	err = errors.Join(err, file.Remove())
	if before != nil {
		err = errors.Join(err, keyring.WriteRotation(directory, before))
	} else {
		err = errors.Join(err, keyring.EndRotation(directory))
	}
	// An interrupt has ended what came before, not this.
	if _, again := r.reloadAll(context.WithoutCancel(ctx), r.edges); again != nil {
		err = errors.Join(err, again)
	}
	return fmt.Errorf("nothing is changed, and the new key is deleted: %w", err)
}

// oldKeys are the fingerprints of all keys but the new one, with those that were old
// before.
func oldKeys(state keyring.Rotation, found []edgeAccount) []string {
	old := state.Old
	for _, account := range found {
		for _, key := range account.Keys {
			if key.Fingerprint != state.New && !slices.Contains(old, key.Fingerprint) {
				old = append(old, key.Fingerprint)
			}
		}
	}
	return old
}

// have has the edges read their keys anew and makes sure that all of them have the
// new one first.
func (r *rotation) have(ctx context.Context, fingerprint string) (found []edgeAccount, err error) {
	if _, err := r.reloadAll(ctx, r.edges); err != nil {
		return nil, err
	}
	if found, _, err = r.look(ctx); err != nil {
		return nil, err
	}
	for _, account := range found {
		if len(account.Keys) == 0 || account.Keys[0].Fingerprint != fingerprint {
			return nil, fmt.Errorf("the edge at %s does not have the new key first: it reads %s, which is another directory than this machine's", account.address, account.Directory)
		}
	}
	return found, nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
