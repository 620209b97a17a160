# Herald as a small image: `docker build -t herald .`
FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# The dependencies alone first: this layer is built again only when one of them changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src && echo 'fn main() {}' >src/main.rs && touch src/lib.rs \
    && cargo build --release --locked \
    && rm -r src
COPY askama.toml ./
COPY config config
COPY migrations migrations
COPY src src
# The files are newer than what was built of the empty ones, whatever their times say.
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked \
    && install -D target/release/herald /out/herald

FROM debian:bookworm-slim
# Time zones, locales and SQLite are built into the program.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --create-home --home-dir /var/lib/herald \
        --shell /usr/sbin/nologin herald
COPY --from=build /out/herald /usr/local/bin/herald
USER herald
# Where SQLite's file is, if no other database is configured.
WORKDIR /var/lib/herald
ENV HERALD__SERVER__BIND=0.0.0.0:8080
EXPOSE 8080
STOPSIGNAL SIGTERM
# Nothing but bash is needed to ask, and that is there.
HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health/ready HTTP/1.0\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
ENTRYPOINT ["herald"]
CMD ["serve"]
