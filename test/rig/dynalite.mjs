// SPDX-License-Identifier: Apache-2.0
// dynalite as a child process: says its port to the parent, and ends with it.
import dynalite from 'dynalite';

const server = dynalite({ createTableMs: 50, deleteTableMs: 50, updateTableMs: 50 });
server.keepAliveTimeout = 120_000;
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
process.on('disconnect', () => process.exit(0));
