FROM python:3.11-slim AS build
WORKDIR /src
COPY constraints.txt pyproject.toml README.md ./
COPY hub ./hub
COPY workers ./workers
RUN python -m venv /opt/hub && /opt/hub/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.11-slim
ENV PATH=/opt/hub/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 --no-create-home hub
COPY --from=build /opt/hub /opt/hub
USER hub
WORKDIR /tmp
EXPOSE 8080
# The exec form: the process itself gets SIGTERM, and drains.
CMD ["hub", "serve", "--host", "0.0.0.0", "--port", "8080"]
