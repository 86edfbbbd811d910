#!/bin/sh
# Two prompts on the default route by curl: BASE_URL=$(pulumi stack output openai_base_url) sh examples/predict.sh
# It goes on with a text, so it needs no chat template; raw_response leaves out "Prompt:" and "Output:".
set -eu
: "${BASE_URL:?export BASE_URL=\$(pulumi stack output openai_base_url)}"
case $BASE_URL in
    http://127.0.0.1:* | http://localhost:*) token=local ;; # the local cloud takes any
    *) token=$(gcloud auth print-access-token) ;;
esac
curl -sS --fail-with-body "$BASE_URL:predict" \
    -H "Authorization: Bearer $token" \
    -H "Content-Type: application/json" \
    -d '{"instances": [
          {"prompt": "A car is", "max_tokens": 64, "temperature": 0.7, "top_p": 0.9, "raw_response": true},
          {"prompt": "A bus is", "max_tokens": 64, "top_k": 10, "raw_response": true}
        ]}'
