# Serves the page on port 7860 as a non-root user: docker build -t glassbox . && docker run -p 7860:7860 glassbox
FROM python:3.12-slim

# Without a GPU the CPU build of torch is a tenth of the size; for CUDA: --build-arg TORCH_INDEX=https://pypi.org/simple
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN useradd --create-home --uid 1000 user
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --index-url ${TORCH_INDEX} "torch>=2.8,<=2.13.0" \
 && pip install --no-cache-dir -r requirements.txt

COPY --chown=user . .
USER user
ENV GLASSBOX_HOST=0.0.0.0 GLASSBOX_PORT=7860 HF_HOME=/home/user/.cache/huggingface PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=5)"]
CMD ["python", "app.py"]
