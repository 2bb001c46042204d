// @tus/server with its file store: node tus_node.mjs NODE_MODULES PORT FOLDER. It calls no fsync.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.argv[2]}/`));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { Server } = await load("@tus/server");
const { FileStore } = await load("@tus/file-store");

new Server({ path: "/files", datastore: new FileStore({ directory: process.argv[4] }) }).listen({
  host: "127.0.0.1",
  port: Number(process.argv[3]),
});
