#!/bin/sh
# A chat by curl, streamed: BASE_URL=$(pulumi stack output openai_base_url) sh examples/curl.sh
set -eu
: "${BASE_URL:?export BASE_URL=\$(pulumi stack output openai_base_url)}"
case $BASE_URL in
    http://127.0.0.1:* | http://localhost:*) token=local ;; # the local cloud takes any
    *) token=$(gcloud auth print-access-token) ;;
esac
curl -sSN --fail-with-body "$BASE_URL/chat/completions" \
    -H "Authorization: Bearer $token" \
    -H "Content-Type: application/json" \
    -d '{"model": "", "messages": [{"role": "user", "content": "What is a car?"}], "max_tokens": 64, "stream": true}'
