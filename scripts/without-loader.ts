/**
 * Loaded first into each process of the tests: module loaders are not registered. tap hooks one into every process, and all that it
 * starts, to know which files belong to coverage; it costs each process a thread and half as much CPU again, and no coverage is asked for.
 */
import module from 'node:module';

Object.assign(module, { register: () => undefined });
