package erase

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/flowjson/jsontree"
	"github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared/keyspace"
)

// person is by what one person is known in webhooks and stream entries.
type person struct {
	// phones are the numbers that nobody else has today: numbers are given to
	// other people, and an older message of somebody else stays that person's.
	phones set
	users  set // business-scoped user ids
	tokens set // flow tokens
	claims set // user ids of the operator's own, from signed tokens
	wamids set // of messages and statuses that were stored as this person's
}

type set map[string]bool

func (s set) add(value string) {
	if value != "" {
		s[value] = true
	}
}

func newPerson() *person {
	return &person{phones: set{}, users: set{}, tokens: set{}, claims: set{}, wamids: set{}}
}

// Names under which Meta writes who an element is from, to or about.
var (
	phoneNames = []string{"wa_id", "from", "to", "recipient_id"}
	userNames  = []string{"user_id", "from_user_id", "to_user_id", "recipient_user_id"}
)

// said are the identities that one element of a webhook names.
type said struct {
	phones, users []string
	wamid         string
}

func listen(element *jsontree.Node) said {
	var s said
	s.phones, s.users = texts(element, phoneNames), texts(element, userNames)
	s.wamid = last(texts(element, []string{"id"}))
	return s
}

// nobody says that the element names no person and has no id.
func (s said) nobody() bool { return len(s.phones)+len(s.users) == 0 && s.wamid == "" }

// texts are the strings and numbers under some names of an object. Names are
// compared as encoding/json does, which reads the webhooks that are stored.
func texts(element *jsontree.Node, names []string) []string {
	var all []string
	for _, m := range element.Members {
		for _, name := range names {
			if strings.EqualFold(m.Name, name) && (m.Value.Is(jsontree.String) || m.Value.Is(jsontree.Number)) && m.Value.Text != "" {
				all = append(all, m.Value.Text)
			}
		}
	}
	return all
}

// is says whether an element is this person's. The user id decides where there
// is one: the number may have been somebody else's.
func (p *person) is(s said) bool {
	if p.wamids[s.wamid] {
		return true
	}
	if len(s.users) > 0 && len(p.users) > 0 {
		return hasAny(p.users, s.users)
	}
	return hasAny(p.phones, s.phones) || hasAny(p.users, s.users)
}

func hasAny(s set, values []string) bool {
	for _, v := range values {
		if s[v] {
			return true
		}
	}
	return false
}

// answered says whether a message brings the answer to one of the tokens.
func (p *person) answered(message *jsontree.Node) bool {
	if len(p.tokens) == 0 {
		return false
	}
	response := message.Get("interactive").Get("nfm_reply").Get("response_json")
	if response.Is(jsontree.Object) {
		token := response.Get("flow_token")
		return token.Is(jsontree.String) && p.tokens[token.Text]
	}
	if !response.Is(jsontree.String) {
		return false
	}
	var answer struct {
		Token json.RawMessage `json:"flow_token"`
	}
	var token string
	return json.Unmarshal([]byte(response.Text), &answer) == nil && json.Unmarshal(answer.Token, &token) == nil && p.tokens[token]
}

// mentioned says whether a string anywhere below n is an identity of the person.
func (p *person) mentioned(n *jsontree.Node) bool {
	if n.Is(jsontree.String) || n.Is(jsontree.Number) {
		return p.phones[n.Text] || p.users[n.Text] || p.tokens[n.Text] || p.wamids[n.Text]
	}
	for _, m := range n.Members {
		if p.mentioned(m.Value) {
			return true
		}
	}
	for _, item := range n.Items {
		if p.mentioned(item) {
			return true
		}
	}
	return false
}

// shortest is the length in bytes from which a number or user id is looked for
// anywhere in a text.
const shortest = 5

// needle is a text by which a person is found in bytes that cannot be read.
type needle struct {
	text  []byte
	digit bool // may not stand between digits
}

// needles are the identities in every spelling that JSON, and JSON inside a
// string of JSON, has for them. Tokens and claims, and whatever is short, may be
// plain words, so they count only as whole strings.
func (p *person) needles() []needle {
	var all []needle
	words := set{}
	for phone := range p.phones {
		if len(phone) < shortest {
			words.add(phone)
			continue
		}
		all = append(all, needle{[]byte(phone), true})
	}
	for user := range p.users {
		if len(user) < shortest {
			words.add(user)
			continue
		}
		for _, text := range spellings(user) {
			all = append(all, needle{[]byte(text), false})
		}
	}
	for _, values := range []set{p.tokens, p.claims, words} {
		for value := range values {
			for _, text := range spellings(value) {
				all = append(all, needle{[]byte(`"` + text + `"`), false})
				for _, again := range spellings(text) {
					all = append(all, needle{[]byte(`\"` + again + `\"`), false})
				}
			}
		}
	}
	return all
}

// spellings are the ways in which writers of JSON escape a text; slashes and
// what is not ASCII may come either way.
func spellings(text string) []string {
	found := set{text: true}
	all := []string{text}
	for _, slashes := range []bool{false, true} {
		for _, ascii := range []bool{false, true} {
			if s := escape(text, slashes, ascii); !found[s] {
				found[s] = true
				all = append(all, s)
			}
		}
	}
	return all
}

func escape(text string, slashes, ascii bool) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	unit := func(u uint16) {
		b.WriteString(`\u`)
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte(hex[u>>shift&15])
		}
	}
	for _, r := range text {
		switch {
		case r == '"' || r == '\\' || r == '/' && slashes:
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ':
			unit(uint16(r)) //nolint:gosec // below 32
		case r >= utf8.RuneSelf && ascii:
			if r1, r2 := utf16.EncodeRune(r); r1 != utf8.RuneError {
				unit(uint16(r1)) //nolint:gosec // a surrogate
				unit(uint16(r2)) //nolint:gosec // a surrogate
			} else {
				unit(uint16(r)) //nolint:gosec // of the basic plane
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// in says whether one of the needles is in text.
func in(text []byte, needles []needle) bool {
	for _, n := range needles {
		for from := 0; ; {
			i := bytes.Index(text[from:], n.text)
			if i < 0 {
				break
			}
			start, end := from+i, from+i+len(n.text)
			if !n.digit || (start == 0 || !isDigit(text[start-1])) && (end == len(text) || !isDigit(text[end])) {
				return true
			}
			from = start + 1
		}
	}
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// hashOf is the hash of a token that can be a key; Meta's default "unused"
// belongs to everybody.
func hashOf(token string) string {
	if token == "" || token == "unused" {
		return ""
	}
	return keyspace.TokenHash(token)
}
