# One image for both programs: `ragchat serve` (the default) and `ragserver serve`.

FROM python:3.13-slim AS build
WORKDIR /srv
RUN python -m venv /venv
COPY requirements.lock requirements-build.lock ./
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock -r requirements-build.lock
COPY pyproject.toml README.md alembic.ini ./
COPY alembic alembic
COPY app app
COPY ragserver ragserver
# Editable, and at the path of the final image: the migrations stand beside the package, as in a checkout.
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation --editable .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /srv ragchat
COPY --from=build /venv /venv
COPY --from=build /srv /srv
RUN install -d -o ragchat -g ragchat /srv/var
WORKDIR /srv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8000 LOG_FORMAT=json
USER ragchat
VOLUME /srv/var
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health/live', timeout=2)"]
# In this form no shell stands between, so SIGTERM reaches the server and requests in flight finish.
CMD ["ragchat", "serve"]
