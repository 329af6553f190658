/**
 * Has requests and responses of Express take more properties at little cost.
 *
 * Express gives each of them another prototype. V8 then has a hidden class for that one object, and
 * copies it with all its 40 properties for each one that is added, which for the eight of a session
 * was a good part of what it cost. An object of which a property was deleted
 * is kept as a dictionary, to which adding costs next to nothing. So a property is deleted and put
 * back, which changes no more than the order of the properties.
 */

import { IncomingMessage, ServerResponse } from "node:http";

/** Prepares a request for more properties; anything but a request of Express stays as it is. */
export function loosenRequest(request: object): void {
  if (request instanceof IncomingMessage) {
    loosen(request, IncomingMessage.prototype, "socket");
  }
}

/** Prepares a response for more properties; anything but a response of Express stays as it is. */
export function loosenResponse(response: object): void {
  if (response instanceof ServerResponse) {
    loosen(response, ServerResponse.prototype, "req");
  }
}

function loosen(object: object, usual: object, name: string): void {
  if (Object.getPrototypeOf(object) === usual) {
    return; // of node:http, Connect or Fastify: all have one hidden class
  }
  const property = Object.getOwnPropertyDescriptor(object, name);
  if (property?.configurable) {
    Reflect.deleteProperty(object, name);
    Object.defineProperty(object, name, property);
  }
}
