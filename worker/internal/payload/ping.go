package payload

import (
	"time"

	"github.com/google/uuid"
)

// Ping is the body of a test event, in the form of the endpoint that is tested.
// It is no event that one subscribes to, and none that is stored.
func Ping(form Form, id uuid.UUID, account, endpoint string, endpointID uuid.UUID, now time.Time) []byte {
	switch form {
	case Seed:
		o := newObject()
		o.put("event_type", "endpoint_ping")
		o.put("flow_token", nil)
		o.put("flow_id", nil)
		o.put("phone_number", nil)
		o.within("response_data", func(*object) {})
		o.put("timestamp", now.UTC().Format(milliseconds))
		return o.close()
	case Raw:
		// A webhook without news: every handler of Meta's webhooks takes it.
		return []byte(`{"object":"whatsapp_business_account","entry":[]}`)
	default:
		return envelope("endpoint.ping", id, now, account, notice{name: endpoint, id: endpointID})
	}
}
