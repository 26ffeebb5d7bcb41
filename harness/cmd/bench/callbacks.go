package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/load"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/servers"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/event"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

const (
	receivers = 4 // endpoints that each get every answer

	// The healthy endpoint's messages: what a busy number has, far from what the
	// worker can do, so that waiting for others shows.
	healthyRate = 200 // a second

	// messagesApart is more than the messages of one measurement.
	messagesApart = 1_000_000
)

// delivering says how much of it.
type delivering struct {
	callbacks int     // to be delivered as fast as possible
	seconds   float64 // of a healthy endpoint's messages
	waiting   int     // deliveries for the endpoint that is dead
}

// callbacks measures deliveries, everything on this machine and nothing pinned:
// worker, Postgres with fsync on, Redis, and the receiver in this process.
func callbacks(ctx context.Context, b build, o delivering) (_ *Callbacks, err error) {
	fmt.Fprintln(os.Stderr, "callbacks: from row to receiver")
	stack, err := servers.Start(ctx, servers.Options{Durable: true, Private: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	s, err := site.New(ctx, site.Options{Root: b.root, Bin: b.bin, Servers: stack, Worker: []string{"CALLBACK_WEBHOOK_URL=", "LOG_LEVEL=info"}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.StartWorker(ctx); err != nil {
		return nil, err
	}
	k, err := newSink(s.Secrets.CallbackSecret)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	options, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(options)
	defer client.Close()

	d := deliveries{Site: s, delivering: o, sink: k, producer: newProducer(client, keyspace.New(s.Prefix, 0))}
	result, err := d.rate(ctx)
	if err != nil {
		return nil, fmt.Errorf("rate: %w", err)
	}
	if result.Beside, err = d.beside(ctx); err != nil {
		return nil, fmt.Errorf("beside a dead endpoint: %w", err)
	}
	return result, nil
}

type deliveries struct {
	*site.Site
	delivering
	sink     *sink
	producer *producer
}

// rate measures how fast deliveries that wait are made: the endpoints are paused
// until every answer is stored.
func (d deliveries) rate(ctx context.Context) (*Callbacks, error) {
	for i := range receivers {
		if err := d.endpoint(ctx, fmt.Sprintf("receiver-%d", i), fmt.Sprintf("%s/%d", d.sink.url(), i), "seed", "paused", "flow.completed"); err != nil {
			return nil, err
		}
	}
	answers := max(1, d.callbacks/receivers)
	if err := d.producer.append(ctx, answers, func(i int) event.Entry { return webhookEntry(finishedForm(i, "unused")) }); err != nil {
		return nil, err
	}
	if err := d.WaitUntilRead(ctx); err != nil {
		return nil, err
	}
	total := answers * receivers
	before, err := load.CPU(d.Worker.PID())
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := d.exec(ctx, "UPDATE callback_endpoints SET status = 'active'"); err != nil {
		return nil, err
	}
	if err := d.wait(ctx, func() (int, int) { return d.sink.distinct(), total }); err != nil {
		return nil, err
	}
	// A callback is done when its attempt is a row, not when it has come. Only the
	// last of them are waited for here: to count rows all the time would slow down
	// what is measured.
	if err := d.stored(ctx, total); err != nil {
		return nil, err
	}
	took := time.Since(begun)
	after, err := load.CPU(d.Worker.PID())
	if err != nil {
		return nil, err
	}
	rss, _, err := load.Memory(d.Worker.PID())
	if err != nil {
		return nil, err
	}
	x := &Callbacks{Callbacks: total, PerSecond: float64(total) / took.Seconds(), CPU: us(after-before) / float64(total), RSS: mb(rss)}
	x.Bars = []Bar{atLeast("≥ 3 000/s", x.PerSecond, 3000)}
	return x, d.sink.check()
}

// stored waits until every attempt is a row and no delivery is open.
func (d deliveries) stored(ctx context.Context, want int) error {
	return d.wait(ctx, func() (int, int) {
		var attempts, delivered, open int
		err := d.Query(ctx, func(db *pgx.Conn) error {
			return db.QueryRow(ctx, `SELECT (SELECT count(*) FROM attempts WHERE status = 200),
				(SELECT count(*) FROM delivery_history WHERE state = 'delivered'), (SELECT count(*) FROM deliveries)`).Scan(&attempts, &delivered, &open)
		})
		if err != nil {
			return 0, want
		}
		return min(attempts, delivered) - open, want
	})
}

// beside measures how long a healthy endpoint waits, alone and while another one
// is dead.
func (d deliveries) beside(ctx context.Context) ([]Beside, error) {
	if err := d.exec(ctx, "UPDATE callback_endpoints SET status = 'off'"); err != nil {
		return nil, err
	}
	if err := d.endpoint(ctx, "healthy", d.sink.url()+"/healthy", "event", "active", "message.received"); err != nil {
		return nil, err
	}
	closed, err := closedPort()
	if err != nil {
		return nil, err
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer silent.Close() // what it accepted goes with the process
	go func() {
		var held []net.Conn
		for {
			conn, err := silent.Accept()
			if err != nil {
				for _, c := range held {
					_ = c.Close()
				}
				return
			}
			held = append(held, conn)
		}
	}()
	var all []Beside
	for _, other := range []struct{ name, url string }{
		{"nothing else", ""},
		{"one that refuses connections", "http://" + closed},
		{"one that never answers", "http://" + silent.Addr().String()},
	} {
		if other.url != "" {
			if err := d.dead(ctx, other.name, other.url); err != nil {
				return nil, err
			}
		}
		if err := d.settle(ctx); err != nil {
			return nil, err
		}
		b, err := d.healthy(ctx, len(all)*messagesApart)
		if err != nil {
			return nil, fmt.Errorf("beside %s: %w", other.name, err)
		}
		b.Name = other.name
		if len(all) > 0 {
			b.TimesAlone = b.P99 / all[0].P99
			b.Bars = []Bar{atMost("p99 < 2 × alone", b.TimesAlone, 2)}
		}
		all = append(all, b)
		if other.url != "" {
			if err := d.exec(ctx, "DELETE FROM deliveries WHERE state = 'due' AND endpoint_id = (SELECT id FROM callback_endpoints WHERE name = $1)", other.name); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// dead adds an endpoint with many deliveries that have been due for a while.
func (d deliveries) dead(ctx context.Context, name, url string) error {
	if err := d.endpoint(ctx, name, url, "seed", "active", "endpoint.disabled"); err != nil {
		return err
	}
	return d.exec(ctx, `INSERT INTO deliveries (id, account, endpoint_id, event_type, event_id, event_at, subject_id, subject_at, run_at)
		SELECT gen_random_uuid(), 'default', e.id, 'flow.completed', gen_random_uuid(), r.answered_at, r.id, r.answered_at, now() - interval '1 hour'
		FROM callback_endpoints e, (SELECT id, answered_at FROM flow_responses LIMIT 1) r, generate_series(1, $2) WHERE e.name = $1`, name, d.waiting)
}

// settle does what Postgres does by itself within minutes: each measurement begins
// with a table that is vacuumed and a log that is written.
func (d deliveries) settle(ctx context.Context) error {
	for _, sql := range []string{"VACUUM ANALYZE deliveries", "CHECKPOINT"} {
		if err := d.exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// healthy sends messages at a fixed rate and takes the time of each from when it
// was due to be sent to when its callback came.
//
// The messages are numbered from first on: one that was stored before would be a
// duplicate, and no event.
func (d deliveries) healthy(ctx context.Context, first int) (Beside, error) {
	d.sink.reset()
	messages := max(1, int(healthyRate*d.seconds))
	due := make([]time.Time, messages)
	begun := time.Now()
	for n := range messages {
		due[n] = begun.Add(time.Duration(n) * time.Second / healthyRate)
		select {
		case <-time.After(time.Until(due[n])):
		case <-ctx.Done():
			return Beside{}, ctx.Err()
		}
		if err := d.producer.append(ctx, 1, func(int) event.Entry { return webhookEntry(textMessage(first + n)) }); err != nil {
			return Beside{}, err
		}
	}
	if err := d.wait(ctx, func() (int, int) { return d.sink.messages(), messages }); err != nil {
		return Beside{}, err
	}
	waited := make([]float64, messages)
	for n := range messages {
		waited[n] = us(d.sink.arrived[first+n].Sub(due[n]))
	}
	slices.Sort(waited)
	at := func(share float64) float64 { return waited[min(messages-1, int(share*float64(messages)))] }
	return Beside{Messages: messages, P50: at(.5), P99: at(.99), Longest: waited[messages-1]}, d.sink.check()
}

func textMessage(n int) []byte {
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"1029384756","changes":[{"field":"messages","value":{`+
		`"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},`+
		`"contacts":[{"profile":{"name":"User"},"wa_id":"1650%07d","user_id":"US.%d"}],`+
		`"messages":[{"from":"1650%07d","id":"`+numbered+`%d","timestamp":"%d","type":"text","text":{"body":"%s"}}]}}]}]}`,
		n, n, n, n, time.Now().Unix(), rand.Text())
}

func (d deliveries) endpoint(ctx context.Context, name, url, payload, status, events string) error {
	return d.exec(ctx, `INSERT INTO callback_endpoints (id, account, name, url, secrets, payload, status, events, timeout_ms, max_attempts)
		VALUES (gen_random_uuid(), '*', $1, $2, $3, $4, $5, $6, 15000, 10)`, name, url, []string{d.Secrets.CallbackSecret}, payload, status, []string{events})
}

func (d deliveries) exec(ctx context.Context, sql string, args ...any) error {
	return d.Query(ctx, func(db *pgx.Conn) error { _, err := db.Exec(ctx, sql, args...); return err })
}

// wait returns once reached is what is wanted.
func (d deliveries) wait(ctx context.Context, reached func() (have, want int)) error {
	deadline := time.Now().Add(2 * time.Minute)
	for {
		have, want := reached()
		if have >= want {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d after two minutes; the end of the worker's log:\n%s", have, want, d.Worker.Tail())
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// closedPort is an address where nobody listens.
func closedPort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
