# syntax=docker/dockerfile:1
# Images of the edge and the worker, for any platform that Go builds for:
#
#   docker buildx build -f xcaddy.Dockerfile --target edge   --platform linux/amd64,linux/arm64 -t whatsapp-flows-edge .
#   docker buildx build -f xcaddy.Dockerfile --target worker --platform linux/amd64,linux/arm64 -t whatsapp-flows-worker .
#
# To add other Caddy modules, put more --with lines into the xcaddy command.

ARG GO_VERSION=1.26
ARG ALPINE_VERSION=3.22

# Go cross-compiles: the builder always runs on the machine's own platform.
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-alpine AS source
RUN apk add --no-cache git
WORKDIR /src
COPY . .
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"

FROM source AS build-edge
ARG TARGETOS TARGETARCH
ARG CADDY_VERSION=v2.11.9
ARG XCADDY_VERSION=v0.4.5
# Installed for the machine that builds; only the build itself is for the target.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOWORK=off go install github.com/caddyserver/xcaddy/cmd/xcaddy@${XCADDY_VERSION}
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOWORK=off GOOS=${TARGETOS} GOARCH=${TARGETARCH} XCADDY_SETCAP=0 \
    xcaddy build ${CADDY_VERSION} --output /out/caddy \
      --with github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule@v0.0.0=./caddymodule \
      --replace github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared=./shared

FROM source AS build-worker
ARG TARGETOS TARGETARCH
ARG VERSION=container
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -ldflags "-s -w -X main.version=${VERSION}" -o /out/worker ./worker/cmd/worker

FROM alpine:${ALPINE_VERSION} AS base
RUN apk add --no-cache ca-certificates tzdata && adduser -D -H -u 10001 app

FROM base AS edge
# Certificates and the last configuration live here: keep /data.
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
RUN mkdir -p /data /config && chown app:app /data /config
COPY --from=build-edge /out/caddy /usr/local/bin/caddy
COPY Caddyfile /etc/caddy/Caddyfile
USER 10001:10001
VOLUME ["/data", "/config"]
EXPOSE 80 443 443/udp
ENTRYPOINT ["caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile"]

FROM base AS worker
COPY --from=build-worker /out/worker /usr/local/bin/worker
COPY examples /examples
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["worker"]
CMD ["serve"]
