package webhook

import "encoding/json"

// Elements are the bytes of what Parse found in the same body, in its order: of
// each change its messages and then its statuses, and apart from them the values
// of the changes of the field flows. nil for a body that is no JSON object.
type Elements struct {
	Messages []json.RawMessage // messages and statuses
	Flows    []json.RawMessage
}

// ReadElements finds the elements of a body. It is for when one of them is to be
// passed on as Meta wrote it; Parse, which reads every webhook, keeps no bytes.
func ReadElements(body []byte) Elements {
	payload, err := Parse(body)
	if err != nil {
		return Elements{}
	}
	var p Payload // takes the problems, which Parse has told already
	var whole struct {
		Entry json.RawMessage `json:"entry"`
	}
	p.read("", body, &whole)
	var all Elements
	var next int // of payload.Changes
	for _, raw := range p.list("", whole.Entry) {
		var entry struct {
			Changes json.RawMessage `json:"changes"`
		}
		p.read("", raw, &entry)
		for _, raw := range p.list("", entry.Changes) {
			if next == len(payload.Changes) {
				return all
			}
			parsed := &payload.Changes[next]
			next++
			var change struct {
				Value json.RawMessage `json:"value"`
			}
			p.read("", raw, &change)
			var value struct {
				Messages json.RawMessage `json:"messages"`
				Statuses json.RawMessage `json:"statuses"`
			}
			p.read("", change.Value, &value)
			all.Messages = append(all.Messages, p.elements(value.Messages, len(parsed.Messages))...)
			all.Messages = append(all.Messages, p.elements(value.Statuses, len(parsed.Statuses))...)
			if parsed.Flow != nil {
				all.Flows = append(all.Flows, change.Value)
			}
		}
	}
	return all
}

// elements are those of a list that Parse kept: all, or, when some are no
// objects, only the objects.
func (p *Payload) elements(raw json.RawMessage, kept int) []json.RawMessage {
	all := p.list("", raw)
	if len(all) == kept {
		return all
	}
	var objects []json.RawMessage
	for _, element := range all {
		if element[0] == '{' {
			objects = append(objects, element)
		}
	}
	return objects
}

// ReadMessages is Messages of ReadElements, for a body in which everything has its
// place in a quarter of the time.
func ReadMessages(body []byte) []json.RawMessage {
	var whole struct {
		Entry []struct {
			Changes []struct {
				Value struct {
					Messages []json.RawMessage `json:"messages"`
					Statuses []json.RawMessage `json:"statuses"`
				} `json:"value"`
			} `json:"changes"`
		} `json:"entry"`
	}
	if json.Unmarshal(body, &whole) != nil {
		return ReadElements(body).Messages
	}
	var all []json.RawMessage
	for _, entry := range whole.Entry {
		for _, change := range entry.Changes {
			for _, list := range [][]json.RawMessage{change.Value.Messages, change.Value.Statuses} {
				for _, element := range list {
					if element[0] != '{' { // which Parse may have left out
						return ReadElements(body).Messages
					}
				}
				all = append(all, list...)
			}
		}
	}
	return all
}
