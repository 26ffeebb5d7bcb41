// Command caddy is Caddy with the WhatsApp Flows modules compiled in, for
// people who do not use xcaddy.
package main

import (
	_ "time/tzdata" // a scratch image has no zone files

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule"
)

func main() { caddycmd.Main() }
