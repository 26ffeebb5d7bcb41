module github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/migrations

go 1.26.0
