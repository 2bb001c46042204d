// Uploads a file with tus-js-client and prints its URL.
// node tus_js_client.mjs ENDPOINT FILE OPTIONS-AS-JSON
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import * as tus from "tus-js-client";

const [endpoint, path, options] = process.argv.slice(2);
const upload = new tus.Upload(createReadStream(path), {
  endpoint,
  retryDelays: [0, 50, 100, 200, 400, 800],
  metadata: { filename: basename(path) },
  onError: (error) => {
    console.error(String(error));
    process.exitCode = 1;
  },
  onSuccess: () => console.log(upload.url),
  ...JSON.parse(options ?? "{}"),
});
upload.start();
