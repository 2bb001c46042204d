// A tus server that is not ours: node tus_server.mjs FOLDER. It prints its port.
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const hour = 3_600_000;
const server = new Server({
  path: "/files",
  datastore: new FileStore({ directory: process.argv[2], expirationPeriodInMilliseconds: hour }),
  maxSize: 1_000_000_000,
});
const listening = server.listen({ host: "127.0.0.1", port: Number(process.argv[3] ?? 0) }, () => {
  console.log(listening.address().port);
});
