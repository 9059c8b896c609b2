#!/usr/bin/env bash
# Builds the image of a Flex template, pushes it, and stages the template's specification.
#
#     templates/flex/build.sh TEMPLATE REPOSITORY FOLDER
#
# TEMPLATE    files, pubsub or bigquery
# REPOSITORY  of Artifact Registry: REGION-docker.pkg.dev/PROJECT/NAME
# FOLDER      gs://… for the specification, which becomes FOLDER/TEMPLATE.json
#
# With BUILDER=docker docker builds it on this machine; without, Cloud Build does, and nothing but
# gcloud is needed. TAG names the image's version; without it the time does. PYTHON is a Python with
# the extra gcp installed.
set -euo pipefail

template=${1:?TEMPLATE is missing: files, pubsub or bigquery}
repository=${2:?REPOSITORY is missing: REGION-docker.pkg.dev/PROJECT/NAME}
folder=${3:?FOLDER is missing: gs://…}
image="$repository/beam-dynamodb-$template:${TAG:-$(date -u +%Y%m%d-%H%M%S)}"

cd "$(dirname "$0")/../.."
test -d "templates/flex/$template" || { echo "There is no template $template." >&2; exit 2; }

case "${BUILDER:-cloud}" in
  cloud)
    gcloud builds submit . --config=templates/flex/cloudbuild.yaml \
      --substitutions="_TEMPLATE=$template,_IMAGE=$image"
    ;;
  docker)
    docker build --platform=linux/amd64 -f templates/flex/Dockerfile \
      --build-arg "TEMPLATE=$template" -t "$image" .
    docker push "$image"
    ;;
  *)
    echo "BUILDER must be cloud or docker, not $BUILDER." >&2
    exit 2
    ;;
esac

"${PYTHON:-python3}" -m templates.launch stage flex \
  --template="$template" --image="$image" --to="${folder%/}/$template.json"
