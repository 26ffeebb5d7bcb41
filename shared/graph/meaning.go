package graph

import "net/http"

// tokenMeanings are the subcodes of code 190 (Meta: "Handling errors").
var tokenMeanings = map[int]string{
	458: "the app was removed from this user: make a new token for the system user",
	460: "the password of the token's user was changed: make a new token",
	463: "the access token has expired: make a new one, best that of a system user, which does not expire",
	464: "the token's user has not confirmed an address: use the token of a system user",
	467: "the access token was revoked or logged out: make a new one",
	492: "the token's user may no longer see this: use the token of a system user of the business",
}

// meanings say what a code means and what to do (Meta: "Handling errors",
// "Flows API", "Cloud API error codes").
var meanings = map[int]string{
	1:   "Meta had a problem of its own: try again in some minutes",
	2:   "the service is down for a moment at Meta: try again in some minutes",
	3:   "the app lacks a capability for this call: look at its use cases in the app's settings",
	4:   "the app has made too many calls within an hour: wait",
	10:  "the token lacks the permission for this call: give the system user whatsapp_business_management and whatsapp_business_messaging and make a new token",
	17:  "the token's user has made too many calls: wait",
	33:  "the id is of an object that may not be read this way",
	100: "a parameter is not what Meta expects: the message says which",
	102: "the session of the token is over: make a new token",
	104: "the call came without an access token: something on the way drops the Authorization header",
	190: "the access token is not valid: make a new one for a system user and set META_ACCESS_TOKEN",
	200: "the token lacks the permission for this object: assign the WhatsApp Business Account to the system user, with full control, and make a token with whatsapp_business_management and whatsapp_business_messaging",
	294: "the token lacks a permission, or the app is not approved for it",
	368: "Meta has blocked this account for a while because of its policies: look into WhatsApp Manager",

	80007:  "the WhatsApp Business Account has reached its rate limit: wait",
	130429: "the phone number sends faster than its throughput allows: send slower",
	131000: "something went wrong at Meta, of which it says no more: try again",
	131005: "the token may not send from this number: it needs whatsapp_business_messaging and the number's account",
	131008: "a required parameter is missing: the message says which",
	131009: "a value is not what Meta expects, or the number is not registered: the message says more",
	131016: "the service is overloaded at Meta: try again later",
	131021: "sender and recipient are the same number",
	131026: "the message cannot be delivered: the recipient has no WhatsApp, an app too old for this flow, or has not accepted the terms",
	131030: "a test number sends only to recipients on its list: add the number under API Setup in the app",
	131031: "the account is locked: look into WhatsApp Manager",
	131037: "the phone number's display name is not approved yet",
	131042: "there is a problem with the payment method: look into the billing settings",
	131045: "the phone number is not registered: register it first",
	131047: "more than 24 hours have passed since the user's last message: send a template instead (--template)",
	131048: "too many messages of this number were marked as spam: wait, and look at its quality",
	131049: "Meta keeps this message back, to limit what the user gets from businesses: do not send it again at once",
	131051: "this type of message is not supported",
	131053: "a media file could not be taken",
	131056: "too many messages to this one recipient: wait",
	131057: "the business account is in maintenance mode: try again later",
	131062: "this message cannot be sent to a business-scoped user id: use the phone number",
	132000: "the template has another number of parameters",
	132001: "there is no such template in this language, or it is not approved",
	132005: "a text of the template becomes too long",
	132007: "the template breaks a policy",
	132012: "a parameter of the template has the wrong form: a template with a FLOW button needs the button's index",
	132015: "the template is paused because of its quality",
	132016: "the template is disabled for good because of its quality",
	132068: "the flow is blocked because its endpoint failed too often: mend the endpoint; Meta lifts the block when health checks succeed",
	132069: "the flow is throttled to 10 messages an hour because its endpoint is slow or fails: look at its health, and mend the endpoint",
	133004: "the server is down at Meta for a moment: try again",
	133010: "the phone number is not registered with the Cloud API",
	135000: "a parameter of the message is not what Meta expects",

	139000: "the business has not passed Meta's integrity checks, without which it may not use flows: verify it in Business Manager",
	139001: "this flow cannot be changed: it is deprecated, or was published before such changes were possible. Clone it",
	139002: "the flow cannot be published. Meta wants a verified phone number, its public key with a valid signature, an endpoint URI, a linked app, a Flow JSON without errors of a version that is not frozen, an endpoint that answers the health check, and the account subscribed to webhooks",
	139003: "only a published flow can be deprecated",
	139004: "only a draft can be deleted",
	139006: "there are no figures: a flow needs 250 requests first",
}

func meaning(e *Error) string {
	switch {
	case e.Code == 190 && tokenMeanings[e.Subcode] != "":
		return tokenMeanings[e.Subcode]
	case e.Code == CodeInvalidParameter && e.Subcode == subcodeNoObject:
		return "there is no such object, or the token may not see it: compare the id, and assign the account to the system user"
	case e.Code > 200 && e.Code < 300 && meanings[e.Code] == "":
		return meanings[200]
	case meanings[e.Code] != "":
		return meanings[e.Code]
	case e.Code != 0:
		return ""
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		return "the access token is not accepted: make a new one for a system user and set META_ACCESS_TOKEN"
	case e.Status >= 500:
		return "Meta had a problem of its own: try again in some minutes"
	case e.Status == http.StatusTooManyRequests:
		return "too many calls were made: wait"
	}
	return "that is no answer of the Graph API: is its URL right, and is nothing between?"
}
