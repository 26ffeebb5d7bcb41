package keyscommand

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule/internal/keyring"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowcrypto"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/graph/graphtest"
)

// rotating is a desk with a directory of one key, served by an edge.
func rotating(t *testing.T) (*desk, *edge) {
	t.Helper()
	d := newDesk(t)
	d.quick = true
	if err := os.Mkdir(d.path("keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	d.now = d.now.Add(-30 * 24 * time.Hour)
	d.addKey()
	e := d.edge("localhost:2019", d.path("keys"))
	d.now = d.now.Add(30 * 24 * time.Hour)
	return d, e
}

// addKey puts a key into the directory, whose private half nobody needs.
func (d *desk) addKey() {
	d.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := keyring.Add(d.path("keys"), []byte("private"), []byte("pass"), flowcrypto.PublicPEM(&key.PublicKey), d.now); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) files() string {
	d.t.Helper()
	files, err := keyring.List(d.path("keys"))
	if err != nil {
		d.t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		all = append(all, strings.TrimPrefix(file.Path, d.path("keys")+"/"))
	}
	return strings.Join(all, " ")
}

// The whole of a rotation, from the new key to the day when the old one goes.
func TestARotationFromItsFirstToItsLastDay(t *testing.T) {
	d, e := rotating(t)
	server := d.meta()
	old := e.keys[0].Fingerprint
	e.opens(1, 1000)

	out := d.must("rotate", "--overlap", "7d", "--all-numbers")
	if len(e.keys) != 2 || e.keys[0].Fingerprint == old || e.keys[1].Fingerprint != old {
		t.Fatalf("the edge has %d keys", len(e.keys))
	}
	for _, part := range []string{e.keys[0].Fingerprint, "101 (+1 555-0101)  VALID, the same key", "102 (+1 555-0102)  VALID", "may go after 2026-12-06 09:00:00 UTC"} {
		if !strings.Contains(out, part) {
			t.Errorf("it says\n%s\nexpected %q", out, part)
		}
	}
	for _, id := range []string{"101", "102"} {
		if server.Key(id).PEM != e.keys[0].PublicKey {
			t.Errorf("number %s does not have the new key", id)
		}
	}
	d.refused([]string{"a rotation is under way since 2026-11-29 09:00:00 UTC"}, "rotate")

	e.opens(2, 10)
	d.refused([]string{"the overlap ends at 2026-12-06 09:00:00 UTC, in 7.0 days", "opened a request with the old key " + old[:12] + " 0s ago (1010 in the last 24 h, 50.0 %)", "nothing was opened with the new key", "the old key stays"}, "rotate", "--finish")
	d.now = d.now.Add(8 * 24 * time.Hour)
	d.refused([]string{"nothing was opened with the new key"}, "rotate", "--finish")
	e.opens(1, 500)
	e.opens(2, 1)
	if out := d.refused([]string{"opened a request with the old key"}, "rotate", "--finish"); strings.Contains(out, "overlap") {
		t.Errorf("the overlap has passed: %s", out)
	}
	d.now = d.now.Add(25 * time.Hour)
	e.opens(1, 500)
	server.SetKey("102", graph.PublicKey{PEM: e.keys[1].PublicKey, Signature: graph.SignatureValid})
	d.refused([]string{"WhatsApp does not have the new key for the number 102"}, "rotate", "--finish", "--all-numbers")
	d.must("register", "--all-numbers")
	if out := d.must("status", "--all-numbers"); !strings.Contains(out, "the old key may go") {
		t.Errorf("status says\n%s", out)
	}
	if n := strings.Count(d.files(), ".pem"); n != 2 {
		t.Errorf("after refusals there are %d keys, expected both", n)
	}

	out = d.must("rotate", "--finish", "--all-numbers")
	if len(e.keys) != 1 || e.keys[0].Fingerprint == old {
		t.Errorf("the edge has %d keys", len(e.keys))
	}
	if strings.Count(d.files(), ".pem") != 1 || !strings.Contains(out, "/retired/") {
		t.Errorf("left are %s; it says\n%s", d.files(), out)
	}
	for _, suffix := range []string{".pem", ".pass", ".pub"} {
		if info, err := os.Stat(d.path("keys/retired/2026-10-30T09-00-00Z" + suffix)); err != nil || (suffix != ".pub" && info.Mode().Perm() != 0o600) {
			t.Errorf("moved aside: %v, %v", info, err)
		}
	}
	d.refused([]string{"no rotation is under way"}, "rotate", "--finish")
}

func TestARotationThatCannotGoThroughChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*desk, *edge)
		args    []string
		want    []string
	}{
		"no token": {func(d *desk, _ *edge) { delete(d.env, "META_ACCESS_TOKEN") }, nil,
			[]string{"neither META_ACCESS_TOKEN nor META_ACCESS_TOKEN_FILE is set", "--no-register"}},
		"no number": {func(d *desk, _ *edge) { delete(d.env, "META_PHONE_NUMBER_ID") }, nil,
			[]string{"which phone numbers?"}},
		"a token that Meta refuses": {func(d *desk, _ *edge) { d.env["META_ACCESS_TOKEN"] = "EAAG-token-of-yesterday" }, []string{"--all-numbers"},
			[]string{"the access token is not valid"}},
		"keys are named one by one": {func(_ *desk, e *edge) { e.dir = "" }, nil,
			[]string{"has no directory of keys", "private_keys DIRECTORY", "PRIVATE_KEYS_DIR"}},
		"the edge cannot read it": {func(_ *desk, e *edge) { e.broken = "account default: private_keys: permission denied" }, nil,
			[]string{"nothing is changed, and the new key is deleted", "permission denied"}},
		"the edge reads another directory": {func(d *desk, e *edge) {
			if err := os.Mkdir(d.path("elsewhere"), 0o700); err != nil {
				d.t.Fatal(err)
			}
		}, []string{"--dir", "ELSEWHERE"}, []string{"nothing is changed", "does not have the new key first"}},
		"no edge":                 {func(d *desk, _ *edge) { delete(d.edges, "localhost:2019") }, nil, []string{"connection refused", "does it run"}},
		"one of two edges":        {func(*desk, *edge) {}, []string{"--address", "localhost:2019", "--address", "10.0.0.2:2019"}, []string{"the edge at 10.0.0.2:2019", "connection refused"}},
		"an account there is not": {func(*desk, *edge) {}, []string{"--account", "acme"}, []string{`it has no account "acme"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, e := rotating(t)
			d.meta()
			c.prepare(d, e)
			before := d.files()
			args := []string{"rotate"}
			for _, arg := range c.args {
				args = append(args, strings.ReplaceAll(arg, "ELSEWHERE", d.path("elsewhere")))
			}
			d.refused(c.want, args...)
			if after := d.files(); after != before {
				t.Errorf("the directory holds %s, before %s", after, before)
			}
			if state, err := keyring.ReadRotation(d.path("keys")); state != nil || err != nil {
				t.Errorf("a rotation is noted: %+v, %v", state, err)
			}
			if writes := d.graph.Writes(); len(writes) != 0 {
				t.Errorf("Meta was told: %v", writes)
			}
		})
	}
}

// When Meta fails in the middle, the new key stays loaded and the old one goes on:
// nothing is lost, and what to do is said.
func TestARegistrationThatFailsLeavesBothKeys(t *testing.T) {
	d, e := rotating(t)
	server := d.meta()
	server.Fail("POST 102/whatsapp_business_encryption", graphtest.Failure{Status: 400, Code: 131031, Message: "Account locked"})
	d.refused([]string{"the old one still works", "number 102", "the account is locked", "keys register"}, "rotate", "--all-numbers")
	if len(e.keys) != 2 || server.Key("101").PEM != e.keys[0].PublicKey || server.Key("102").PEM != "" {
		t.Errorf("the edge has %d keys", len(e.keys))
	}
	d.must("register", "--all-numbers")
	if server.Key("102").PEM != e.keys[0].PublicKey {
		t.Error("register does not mend it")
	}
}

func TestWhenTheOldKeyCannotBeTakenOutItIsPutBack(t *testing.T) {
	d, e := rotating(t)
	d.must("rotate", "--no-register", "--overlap", "0s")
	d.now = d.now.Add(48 * time.Hour)
	e.opens(1, 1)
	before := d.files()
	e.broken = "account default: app_secret 1: the placeholder {file./run/secrets/app_secret} is empty or cannot be read"
	d.refused([]string{"the old key is put back", "{file./run/secrets/app_secret}"}, "rotate", "--finish", "--no-register")
	if d.files() != before {
		t.Errorf("the directory holds %s, before %s", d.files(), before)
	}
	e.broken = ""
	d.must("rotate", "--finish", "--no-register")
	if strings.Count(d.files(), ".pem") != 1 {
		t.Errorf("left are %s", d.files())
	}
}

func TestWhyAnOldKeyStays(t *testing.T) {
	now := time.Date(2026, 12, 10, 12, 0, 0, 0, time.UTC)
	state := keyring.Rotation{New: strings.Repeat("a", 64), Old: []string{strings.Repeat("b", 64)}, Begun: now.Add(-8 * 24 * time.Hour), Until: now.Add(-24 * time.Hour)}
	held := func(since, newUsed, oldUsed time.Duration) edgeAccount {
		at := func(ago time.Duration) time.Time {
			if ago < 0 {
				return time.Time{}
			}
			return now.Add(-ago)
		}
		return edgeAccount{"edge:2019", keyring.Account{Keys: []keyring.Key{
			{Fingerprint: state.New, Since: now.Add(-since), LastOpened: at(newUsed)},
			{Fingerprint: state.Old[0], Since: now.Add(-since), LastOpened: at(oldUsed), OpenedDay: 3, ShareDay: 0.01},
		}}}
	}
	const never = -1
	for name, c := range map[string]struct {
		edges []edgeAccount
		until time.Duration // the overlap ends so long from now
		want  []string      // one part of each reason
	}{
		"the old one is out of use": {[]edgeAccount{held(200*time.Hour, time.Minute, 30*time.Hour)}, -time.Hour, nil},
		"it was never used":         {[]edgeAccount{held(200*time.Hour, time.Minute, never)}, -time.Hour, nil},
		"the overlap lasts":         {[]edgeAccount{held(200*time.Hour, time.Minute, never)}, time.Hour, []string{"the overlap ends at 2026-12-10 13:00:00 UTC, in 1h0m0s"}},
		"it was used an hour ago":   {[]edgeAccount{held(200*time.Hour, time.Minute, time.Hour)}, -time.Hour, []string{"1h0m0s ago (3 in the last 24 h, 1.0 %)"}},
		"the edge has just started": {[]edgeAccount{held(time.Hour, time.Minute, never)}, -time.Hour, []string{"runs for 1h0m0s only"}},
		"nobody uses either":        {[]edgeAccount{held(200*time.Hour, never, never)}, -time.Hour, []string{"nothing was opened with the new key either"}},
		"one of two edges is quiet": {[]edgeAccount{held(200*time.Hour, time.Minute, never), held(200*time.Hour, never, time.Minute)}, -time.Hour, []string{"opened a request with the old key"}},
		"an edge lacks the new one": {[]edgeAccount{held(200*time.Hour, time.Minute, never), {"edge2:2019", keyring.Account{}}}, -time.Hour, []string{"the edge at edge2:2019 does not have the new key"}},
	} {
		t.Run(name, func(t *testing.T) {
			state := state
			state.Until = now.Add(c.until)
			reasons := mayNotGo(state, c.edges, now, 24*time.Hour)
			if len(reasons) != len(c.want) {
				t.Fatalf("reasons %q, expected %q", reasons, c.want)
			}
			for i, want := range c.want {
				if !strings.Contains(reasons[i], want) {
					t.Errorf("reason %q, expected %q", reasons[i], want)
				}
			}
		})
	}
}

// The directory of keys is the whole edge's when no account has one of its own: its
// accounts change their key together, and the old one goes when none needs it.
func TestAccountsThatShareADirectoryChangeTheirKeyTogether(t *testing.T) {
	d, e := rotating(t)
	other := e.account("acme", d.path("keys"))
	server := d.meta()
	d.env["META_PHONE_NUMBER_ID"] = "101 acme=102"
	delete(d.env, "META_WABA_ID")
	e.opens(1, 10)
	other.opens(1, 10)
	d.refused([]string{"several accounts", "--account"}, "rotate")

	out := d.must("rotate", "--account", "default", "--overlap", "0s")
	if !strings.Contains(out, "accounts     default, acme share this directory") {
		t.Errorf("it says\n%s", out)
	}
	for _, id := range []string{"101", "102"} {
		if server.Key(id).PEM != e.keys[0].PublicKey {
			t.Errorf("the number %s does not have the new key", id)
		}
	}
	d.now = d.now.Add(30 * 24 * time.Hour)
	e.opens(1, 10)
	other.opens(2, 10)
	d.refused([]string{"the edge at localhost:2019, account acme, opened a request with the old key"}, "rotate", "--finish", "--account", "default")
	d.now = d.now.Add(2 * 24 * time.Hour)
	e.opens(1, 10)
	server.SetKey("102", graph.PublicKey{PEM: e.keys[1].PublicKey, Signature: graph.SignatureValid})
	d.refused([]string{"WhatsApp does not have the new key for the number 102", "VALID, key 2 of the edge"}, "rotate", "--finish", "--account", "default")
	d.must("register", "--account", "acme")
	d.must("rotate", "--finish", "--account", "default")
	if strings.Count(d.files(), ".pem") != 1 || len(other.keys) != 1 {
		t.Errorf("left are %s, and %d keys of acme", d.files(), len(other.keys))
	}
}

// An account with another directory has nothing to do with it.
func TestAnAccountWithItsOwnDirectoryIsLeftAlone(t *testing.T) {
	d, e := rotating(t)
	if err := os.Mkdir(d.path("other"), 0o700); err != nil {
		t.Fatal(err)
	}
	other := e.account("acme", d.path("other"))
	if out := d.must("rotate", "--account", "default", "--no-register"); strings.Contains(out, "acme") {
		t.Errorf("it says\n%s", out)
	}
	if len(e.keys) != 2 || len(other.keys) != 0 {
		t.Errorf("%d and %d keys", len(e.keys), len(other.keys))
	}
}

// A number that nobody named may still have the old key.
func TestTheOldKeyStaysWhileAnotherNumberHasIt(t *testing.T) {
	d, e := rotating(t)
	server := d.meta()
	server.SetKey("102", graph.PublicKey{PEM: e.keys[0].PublicKey, Signature: graph.SignatureValid})
	d.must("rotate", "--overlap", "0s") // for 101
	d.now = d.now.Add(30 * 24 * time.Hour)
	e.opens(1, 10)
	d.refused([]string{"WhatsApp still has the old key for the number 102 (+1 555-0102): `caddy whatsapp-flows keys register --number 102`"}, "rotate", "--finish")
	server.SetKey("102", graph.PublicKey{PEM: publicOf(t, 2048), Signature: graph.SignatureValid}) // another's, which is no affair of ours
	d.must("rotate", "--finish")
}

// Whenever rotate ends in the middle, such as by a loss of power: a rotation that is
// noted can be ended, and one that is not can be begun.
func TestARotationThatWasCutShort(t *testing.T) {
	t.Run("before it was noted: the key left over goes with the old one", func(t *testing.T) {
		d, e := rotating(t)
		d.addKey() // no edge has read it
		d.must("rotate", "--no-register", "--overlap", "0s")
		d.now = d.now.Add(48 * time.Hour)
		e.opens(1, 1)
		d.must("rotate", "--finish", "--no-register")
		if len(e.keys) != 1 || strings.Count(d.files(), ".pem") != 1 {
			t.Errorf("the edge has %d keys, the directory %s", len(e.keys), d.files())
		}
	})
	t.Run("before it was registered: it is known to be under way", func(t *testing.T) {
		d, e := rotating(t)
		server := d.meta()
		e.reloaded = func() {
			if state, err := keyring.ReadRotation(d.path("keys")); err != nil || state == nil || state.New != e.keys[0].Fingerprint || len(state.Old) != 1 || state.Old[0] != e.keys[1].Fingerprint {
				t.Errorf("an edge has the new key, and what is noted is %+v, %v", state, err)
			}
		}
		d.must("rotate", "--all-numbers")
		if len(server.Writes()) != 2 || e.reloads != 1 {
			t.Errorf("%v, %d reloads", server.Writes(), e.reloads)
		}
	})
	t.Run("while the old key was moved aside: the rest is moved, too", func(t *testing.T) {
		d, e := rotating(t)
		d.must("rotate", "--no-register", "--overlap", "0s")
		d.now = d.now.Add(48 * time.Hour)
		e.opens(1, 1)
		if err := os.Mkdir(d.path("keys/retired"), 0o700); err != nil {
			t.Fatal(err)
		}
		old := filepath.Base(e.keys[1].Source)
		if err := os.Rename(d.path("keys/"+old), d.path("keys/retired/"+old)); err != nil {
			t.Fatal(err)
		}
		if out := d.must("rotate", "--finish", "--no-register"); strings.Contains(out, "still there") || !strings.Contains(out, "moved ") {
			t.Errorf("it says\n%s", out)
		}
		if left, err := filepath.Glob(d.path("keys/2026-10-30*")); err != nil || len(left) != 0 {
			t.Errorf("left are %v, %v", left, err)
		}
	})
}

// A second rotate at the same moment does not take the first one's key away.
func TestOfTwoRotationsAtOnceOneIsRefused(t *testing.T) {
	d, e := rotating(t)
	d.makes = func() { // both have looked, and found none under way
		if err := keyring.BeginRotation(d.path("keys"), &keyring.Rotation{New: "another's"}); err != nil {
			t.Error(err)
		}
	}
	before := d.files()
	d.refused([]string{"a rotation is under way"}, "rotate", "--no-register")
	state, err := keyring.ReadRotation(d.path("keys"))
	if d.files() != before || e.reloads != 0 || err != nil || state == nil || state.New != "another's" {
		t.Errorf("the directory holds %s, before %s; noted is %+v, %v", d.files(), before, state, err)
	}
}

// Of several edges, one that does not answer must not leave the others with a key that
// is deleted again.
func TestAnEdgeThatFailsDoesNotKeepOthersFromTheirReload(t *testing.T) {
	d, first := rotating(t)
	second := d.edge("10.0.0.2:2019", d.path("keys"))
	both := []string{"--address", "localhost:2019", "--address", "10.0.0.2:2019"}
	if out := d.must(append([]string{"reload"}, both...)...); out != "default      changed at localhost:2019\ndefault      changed at 10.0.0.2:2019\n" {
		t.Errorf("it says %q", out)
	}
	first.broken = "account default: permission denied"
	d.refused([]string{"the edge at localhost:2019: account default: permission denied"}, append([]string{"reload"}, both...)...)
	if second.reloads != 2 {
		t.Errorf("the other edge was reloaded %d times, expected twice", second.reloads)
	}
	d.refused([]string{"nothing is changed"}, append([]string{"rotate", "--no-register"}, both...)...)
	if len(second.keys) != 1 {
		t.Errorf("the other edge has %d keys, of which one is deleted", len(second.keys))
	}
}

// Who interrupts a command that waits for an edge gets out, and everything is taken
// back.
func TestAnInterruptEndsTheWaitForAnEdge(t *testing.T) {
	d, e := rotating(t)
	d.edge("10.0.0.2:2019", d.path("keys"))
	silent := make(chan struct{})
	var reached atomic.Bool
	ctx, interrupt := context.WithCancel(t.Context())
	d.ctx = ctx
	asked := 0
	d.asked = func(address string) error {
		if address != "10.0.0.2:2019" {
			return nil
		}
		if asked++; asked == 2 { // the reload
			reached.Store(true)
			interrupt()
			<-silent
			return errors.New("nobody waits for this")
		}
		return nil
	}
	before := d.files()
	_, err := d.run("", "rotate", "--no-register", "--address", "localhost:2019", "--address", "10.0.0.2:2019")
	close(silent)
	if !reached.Load() || err == nil || !strings.Contains(err.Error(), "nothing is changed") || !strings.Contains(err.Error(), "no answer came: context canceled") {
		t.Errorf("reached %v; error %v", reached.Load(), err)
	}
	if d.files() != before || len(e.keys) != 1 {
		t.Errorf("the directory holds %s, before %s; the edge has %d keys", d.files(), before, len(e.keys))
	}
	if state, err := keyring.ReadRotation(d.path("keys")); state != nil || err != nil {
		t.Errorf("a rotation is noted: %+v, %v", state, err)
	}
}

func TestFlagsOfOneEndOfARotationAreRefusedAtTheOther(t *testing.T) {
	d, _ := rotating(t)
	for _, flag := range []string{"--again", "--overlap=1h", "--passphrase-file=x"} {
		d.refused([]string{"[finish "}, "rotate", "--finish", flag)
	}
}
