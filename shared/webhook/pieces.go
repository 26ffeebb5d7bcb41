package webhook

import (
	"encoding/json"
	"strconv"
)

// parsePieces reads a body in which some value is of the wrong kind, element by
// element, so that what is broken is named and costs its neighbours nothing.
func parsePieces(body []byte) (*Payload, error) {
	p := &Payload{}
	var whole struct {
		Entry json.RawMessage `json:"entry"`
	}
	if !p.read("the body", body, &whole) {
		return p, nil
	}
	for i, raw := range p.list("entry", whole.Entry) {
		place := at("entry", i)
		var entry struct {
			ID      json.RawMessage `json:"id"`
			Time    Timestamp       `json:"time"`
			Changes json.RawMessage `json:"changes"`
		}
		p.read(place, raw, &entry)
		for j, raw := range p.list(place+".changes", entry.Changes) {
			place := at(place+".changes", j)
			var change struct {
				Field json.RawMessage `json:"field"`
				Value json.RawMessage `json:"value"`
			}
			p.read(place, raw, &change)
			c := Change{WABA: loose(entry.ID), Time: entry.Time, Field: loose(change.Field)}
			p.readValue(place+".value", change.Value, &c)
			p.Changes = append(p.Changes, c)
		}
	}
	return p, nil
}

func (p *Payload) readValue(place string, raw json.RawMessage, c *Change) {
	var value struct {
		Metadata json.RawMessage `json:"metadata"`
		Contacts json.RawMessage `json:"contacts"`
		Messages json.RawMessage `json:"messages"`
		Statuses json.RawMessage `json:"statuses"`
	}
	p.read(place, raw, &value)
	if c.Field == FieldFlows {
		c.Flow = &FlowEvent{}
		p.read(place, raw, c.Flow)
	}
	var meta struct {
		PhoneNumberID json.RawMessage `json:"phone_number_id"`
	}
	p.read(place+".metadata", value.Metadata, &meta)
	c.PhoneNumberID = loose(meta.PhoneNumberID)
	c.Contacts = readEach[Contact](p, place+".contacts", value.Contacts)
	c.Messages = readEach[Message](p, place+".messages", value.Messages)
	c.Statuses = readEach[Status](p, place+".statuses", value.Statuses)
}

// readEach keeps of every element what could be read of it, so that a message
// with one odd field is still a message; one that is no object is left out.
func readEach[T any](p *Payload, place string, raw json.RawMessage) []T {
	var all []T
	for i, raw := range p.list(place, raw) {
		var one T
		p.read(at(place, i), raw, &one)
		if raw[0] == '{' {
			all = append(all, one)
		}
	}
	return all
}

// read decodes raw as far as it goes and notes a problem; absent is none.
func (p *Payload) read(place string, raw json.RawMessage, into any) bool {
	if raw == nil {
		return false
	}
	if err := json.Unmarshal(raw, into); err != nil {
		p.Problems = append(p.Problems, describe(place, err).Error())
		return false
	}
	return true
}

func (p *Payload) list(place string, raw json.RawMessage) []json.RawMessage {
	var all []json.RawMessage
	p.read(place, raw, &all)
	return all
}

// loose reads an id that may have come as a number.
func loose(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

func at(place string, i int) string { return place + "[" + strconv.Itoa(i) + "]" }
