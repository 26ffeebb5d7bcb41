SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  // Without these two it would ask a service on the internet.
  validatorUrl: null,
  queryConfigEnabled: false,
});
