FROM python:3.11-slim
RUN useradd --create-home turnout
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir '.[gateway,local]'
USER turnout
ENV TURNOUT_HOME=/home/turnout/data
VOLUME /home/turnout/data
EXPOSE 8790
# outside its loopback the gateway asks for an access key: docker run -e TURNOUT_KEY=… -p 8790:8790 turnout
ENV TURNOUT_GATEWAY_HOST=0.0.0.0 TURNOUT_GATEWAY_ACCESS_KEY_ENV=TURNOUT_KEY
CMD ["turnout", "up"]
