package payload

import "time"

// seedCompleted is what the seed called its only event.
const seedCompleted = "flow_completed"

// seed is byte for byte the JSON that guilhermejansen/whatsapp-flows-server
// sent, so that its receivers need no change. user_id, which it did not know,
// follows phone_number only when there is no phone number to know the user by.
func seed(a answer, now time.Time) []byte {
	o := newObject()
	o.put("event_type", seedCompleted)
	o.put("flow_token", a.flowToken)
	o.put("flow_id", a.flowID)
	o.put("phone_number", a.phoneNumber)
	if a.phoneNumber == nil && a.userID != nil {
		o.put("user_id", a.userID)
	}
	if data, ok := a.object(); ok {
		o.verbatim("response_data", data)
	} else {
		o.within("response_data", func(o *object) { o.put("raw", a.text()) })
	}
	o.put("timestamp", now.UTC().Format(milliseconds))
	return o.close()
}
