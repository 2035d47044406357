# docker build -t gatewayd .
# docker run -v ./gatewayd.yaml:/etc/gatewayd/gatewayd.yaml:ro -e LITELLM_MASTER_KEY -p 4000:4000 gatewayd
#
# The image listens on all addresses of its container, so a master key is required: LITELLM_MASTER_KEY, or
# general_settings.master_key in the configuration. Without a key the daemon refuses to start.
# To edit the file live, mount its directory and not the file: editors replace the file, and a mounted file would stay the
# old one.
# The health check uses the admin listener. With `gatewayd: {admin: off}` use --no-healthcheck, and check /livez instead.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements/run.lock requirements/run.lock
RUN python -m venv /opt/gatewayd \
 && /opt/gatewayd/bin/pip install --no-deps --require-hashes -r requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY gatewayd gatewayd
RUN /opt/gatewayd/bin/pip install --no-deps --no-build-isolation . \
 && /opt/gatewayd/bin/pip uninstall --yes editables hatchling pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="gatewayd" \
      org.opencontainers.image.description="A local OpenAI-compatible LLM gateway: one YAML file, edited live." \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/gatewayd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GATEWAYD_CONFIG=/etc/gatewayd/gatewayd.yaml
COPY --from=build /opt/gatewayd /opt/gatewayd
# A numeric user, so that Kubernetes can check "runAsNonRoot". It cannot write to the image.
USER 10001:10001
EXPOSE 4000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s CMD ["gatewayd", "status"]
ENTRYPOINT ["gatewayd"]
CMD ["run", "--host", "0.0.0.0"]
