# syntax=docker/dockerfile:1
# Images of the edge (amd64 and arm64) and of the worker (any platform that Go
# builds for):
#
#   docker buildx build -f xcaddy.Dockerfile --target edge   --platform linux/amd64,linux/arm64 -t whatsapp-flows-edge .
#   docker buildx build -f xcaddy.Dockerfile --target worker --platform linux/amd64,linux/arm64 -t whatsapp-flows-worker .
#
# To add other Caddy modules, put more --with lines into the xcaddy command.

ARG GO_VERSION=1.26
ARG ALPINE_VERSION=3.22
ARG DEBIAN_RELEASE=trixie

# Go cross-compiles: the builder always runs on the machine's own platform.
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-alpine AS source
RUN apk add --no-cache git
WORKDIR /src
COPY . .
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"

# The edge's private keys are in libcrypto, so its build needs a C compiler and
# OpenSSL's headers for the target. Debian has both for another architecture
# beside its own, and a build on the machine's own platform takes a tenth of the
# time of one under emulation. The image it runs in has the same release, so the
# same libcrypto.
FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-${DEBIAN_RELEASE} AS build-edge
ARG BUILDARCH TARGETOS TARGETARCH
RUN set -eu; \
    case ${TARGETARCH} in \
      amd64) gcc=gcc-x86-64-linux-gnu ;; \
      arm64) gcc=gcc-aarch64-linux-gnu ;; \
      *) echo "The edge is built for amd64 and arm64, not for ${TARGETARCH}." >&2; exit 1 ;; \
    esac; \
    if [ ${TARGETARCH} = ${BUILDARCH} ]; then gcc=gcc; fi; \
    dpkg --add-architecture ${TARGETARCH}; \
    apt-get update; \
    apt-get install -y --no-install-recommends git $gcc libc6-dev:${TARGETARCH} libssl-dev:${TARGETARCH}; \
    rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG CADDY_VERSION=v2.11.9
ARG XCADDY_VERSION=v0.4.5
# Installed for the machine that builds; only the build itself is for the target.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOWORK=off CGO_ENABLED=0 go install github.com/caddyserver/xcaddy/cmd/xcaddy@${XCADDY_VERSION}
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    case ${TARGETARCH} in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; esac; \
    GOWORK=off GOFLAGS=-buildvcs=false GOOS=${TARGETOS} GOARCH=${TARGETARCH} CGO_ENABLED=1 CC=$machine-linux-gnu-gcc XCADDY_SETCAP=0 \
    XCADDY_GO_BUILD_FLAGS="-ldflags='-s -w' -trimpath -tags=nobadger,nomysql,nopgx,libcrypto,netgo,osusergo" \
    xcaddy build ${CADDY_VERSION} --output /out/caddy \
      --with github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/caddymodule@v0.0.0=./caddymodule \
      --replace github.com/caddy-whatsapp-flows/caddy-whatsapp-flows/shared=./shared

FROM source AS build-worker
ARG TARGETOS TARGETARCH
ARG VERSION=container
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOOS=${TARGETOS} GOARCH=${TARGETARCH} go build -ldflags "-s -w -X main.version=${VERSION}" -o /out/worker ./worker/cmd/worker

FROM debian:${DEBIAN_RELEASE}-slim AS edge
# ca-certificates and openssl bring libcrypto; wget is for the health check.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates openssl tzdata wget \
    && rm -rf /var/lib/apt/lists/* && useradd -M -u 10001 app
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

FROM alpine:${ALPINE_VERSION} AS worker
RUN apk add --no-cache ca-certificates tzdata && adduser -D -H -u 10001 app
COPY --from=build-worker /out/worker /usr/local/bin/worker
COPY examples /examples
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["worker"]
CMD ["serve"]
