# CPU image. Not built by this project's CI (no container engine there): please report what does not work.
#   docker build -t rvrt .
#   docker run --rm -v "$PWD:/films" rvrt upscale in.mp4 out.mp4 --light
FROM python:3.12-slim
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY rvrt_cli rvrt_cli
COPY weights weights
# MindSpore (2.4 GB) is for training and Ascend; drop the uninstall to keep it.
RUN pip install --no-cache-dir . && pip uninstall -y mindspore && rm -rf /src/*
ENV RVRT_CACHE=/cache
VOLUME /cache
WORKDIR /films
ENTRYPOINT ["rvrt"]
CMD ["--help"]
