package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/harness/site"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flow"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/phone"
)

// The user of the demo, in numbers that belong to nobody.
const (
	userPhone = "15550100"
	userID    = "US.4815162342"
)

// Play brings an installation up, plays one conversation on it and checks what
// came of it. It fails if anything is off.
func Play(ctx context.Context, place Place, out io.Writer) error {
	return withSite(ctx, place, out, func(ctx context.Context, s *site.Site) error {
		c := &conversation{out: out, site: s, token: "demo-" + rand.Text()}
		if err := c.play(ctx, place); err != nil {
			return err
		}
		return c.checkOutcome(ctx)
	})
}

type conversation struct {
	out    io.Writer
	site   *site.Site
	phone  *phone.Phone
	token  string
	number int // of the step

	params     json.RawMessage // what the flow ended with
	wamid      string
	webhooked  time.Time // when the first webhook was acknowledged
	duplicates int
}

func (c *conversation) play(ctx context.Context, place Place) error {
	definition, err := loadDefinition(place.examples())
	if err != nil {
		return err
	}
	c.phone = &phone.Phone{
		PublicKey: &c.site.Secrets.PrivateKey.PublicKey,
		AppSecret: []byte(c.site.Secrets.AppSecret),
		Token:     c.token,
		Flow:      definition,
		Send:      c.site.Transport(flowName),
	}
	if err := c.waitForFlow(ctx); err != nil {
		return err
	}

	fmt.Fprintln(c.out, "WhatsApp, played by shared/phone: every request sealed with RSA-2048-OAEP and AES-128-GCM, signed with the app secret.")
	fmt.Fprintln(c.out)
	if err := c.ask("health ping", flow.Ping, "", nil, "", func() (*phone.Reply, error) { return c.phone.Ping(ctx) }); err != nil {
		return err
	}
	comment := "Friendly staff, quick answer"
	steps := []struct {
		title, from string
		data        map[string]any
		to          string
	}{
		{"the user opens the flow", "", nil, "RATING"},
		{"first screen: a rating", "RATING", map[string]any{"score": "5"}, "COMMENT"},
		{"second screen: a comment", "COMMENT", map[string]any{"score": "5", "comment": comment}, "THANKS"},
		{"last screen: completion", "THANKS", map[string]any{"score": "5", "comment": comment, "contact_me": true}, "SUCCESS"},
	}
	for _, step := range steps {
		action := flow.DataExchange
		do := func() (*phone.Reply, error) { return c.phone.Exchange(ctx, step.from, step.data) }
		if step.from == "" {
			action, do = flow.Init, func() (*phone.Reply, error) { return c.phone.Init(ctx) }
		}
		if err := c.ask(step.title, action, step.from, step.data, step.to, do); err != nil {
			return err
		}
	}
	if c.params == nil {
		return errors.New("the flow ended without params: WhatsApp would send no answer into the chat")
	}
	return c.webhooks(ctx)
}

// waitForFlow gives the edge the second that it may take to notice a flow that
// was just published: until then its INIT gets 404.
func (c *conversation) waitForFlow(ctx context.Context) error {
	scout := *c.phone
	scout.Token = "" // stateless: it leaves no session behind
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		_, err := scout.Init(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the edge does not serve the flow %s that the worker published: %w", flowName, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ask makes one exchange and prints it.
func (c *conversation) ask(title string, action flow.Action, screen string, data map[string]any, wantScreen string, do func() (*phone.Reply, error)) error {
	began := time.Now()
	reply, err := do()
	took := time.Since(began)
	if err != nil {
		return fmt.Errorf("%s (%s): %w", title, action, err)
	}
	c.head(title, took)
	sent := map[string]any{"action": action}
	if action != flow.Ping {
		sent["flow_token"] = c.token
	}
	if screen != "" {
		sent["screen"] = screen
		sent["data"] = data
	}
	c.line("sent", compact(sent))
	c.line("received", string(reply.Plaintext))
	if reply.Screen != wantScreen {
		return fmt.Errorf("%s: the answer leads to screen %q, expected %q", title, reply.Screen, wantScreen)
	}
	if reply.Ended {
		c.params = reply.Params
	}
	return nil
}

// webhooks delivers the finished form twice, as Meta does now and then.
func (c *conversation) webhooks(ctx context.Context) error {
	c.wamid = "wamid.DEMO" + rand.Text()
	body := phone.CompletionWebhook(phone.Completion{
		WABA: "102290129340398", PhoneNumberID: "106540352242922", DisplayPhone: "15550783881",
		Phone: userPhone, UserID: userID, Name: "Demo User",
		MessageID: c.wamid, ContextID: "wamid.DEMOFLOWMESSAGE", Time: time.Now(), Params: c.params,
	})
	for _, title := range []string{"the finished form arrives by webhook (nfm_reply)", "the same webhook once more: WhatsApp delivers duplicates"} {
		began := time.Now()
		status, err := c.site.Webhook(ctx, body)
		took := time.Since(began)
		if err != nil {
			return fmt.Errorf("%s: %w", title, err)
		}
		c.head(title, took)
		c.line("sent", fmt.Sprintf("%d bytes, wamid %s…, response_json %s", len(body), c.wamid[:16], c.params))
		c.line("received", fmt.Sprintf("%d %s", status, http.StatusText(status)))
		if status != http.StatusOK {
			return fmt.Errorf("%s: status %d, expected 200", title, status)
		}
		if c.webhooked.IsZero() {
			c.webhooked = time.Now()
		} else {
			c.duplicates++
		}
	}
	return nil
}

func (c *conversation) head(title string, took time.Duration) {
	c.number++
	fmt.Fprintf(c.out, "%2d  %-66s %9s\n", c.number, title, milliseconds(took))
}

func (c *conversation) line(what, text string) {
	fmt.Fprintf(c.out, "      %-9s %s\n", what, text)
}

func loadDefinition(dir string) (*flow.Definition, error) {
	definitions, err := flow.LoadDir(os.DirFS(dir))
	if err != nil {
		return nil, err
	}
	definition, ok := definitions[flowName]
	if !ok {
		return nil, fmt.Errorf("no flow %s in %s", flowName, dir)
	}
	return definition, nil
}

func compact(value any) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(b.Bytes()))
}
